//! Stages that are run again in the backward.

mod chain;
mod equal;
mod faults;
mod flows;
mod passes;
