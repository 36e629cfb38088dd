//! A run with an activation cache is the run without.

mod by_hand;
mod epochs;
mod equal;
mod kept;
mod laws;
pub mod net;
mod odd;
mod processes;
mod recomputed;
mod refused;
mod rows;
mod turns;
