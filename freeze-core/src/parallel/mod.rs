//! More than one process: what the ranks of a run do together.

mod collective;
mod group;
mod notice;
mod settings;
mod threads;
mod words;

pub use collective::{Collective, Numbers};
pub(crate) use group::Call;
pub use group::{Group, Traffic};
pub use settings::Parallel;
pub use threads::Threads;
pub(crate) use words::{Words, fingerprint, fingerprint_of};
