//! What the derive's output uses and nobody else.

pub use crate::model::{StageList, recursion};

/// The index of no item.
pub const fn no_index() -> Vec<usize> {
    Vec::new()
}

/// What the derive of this version asks for: the output of another names what it lacks here.
pub mod freeze_derive_0_1_0 {}
