//! Runs of several ranks.

mod equal;
mod faults;
mod net;
mod resume;
mod share;
