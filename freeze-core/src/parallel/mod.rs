//! More than one process: what the ranks of a run do together.

mod collective;
mod threads;

pub use collective::{Collective, Numbers};
pub use threads::Threads;
