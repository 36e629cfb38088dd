//! Runs of several ranks.

mod batch_norm;
mod equal;
mod faults;
mod leads;
mod net;
mod odd;
mod resume;
mod shard;
mod share;
mod within;
