//! Stop and resume without a trace: one safetensors file with all that a run is made of.

mod archive;
mod atomic;
mod base;
mod bytes;
mod fingerprint;
mod header;
mod history;
mod random;
mod restore;
mod resume;
mod run;
mod save;
mod state;
mod weights;
mod writer;

pub use history::{MetricHistory, Record};
pub use random::Resumable;
pub use resume::Resumed;
pub use run::Checkpoint;
pub use weights::{Weights, load_weights, save_weights};
