//! Items for the derive's output only.

pub use crate::model::{StageList, recursion};

/// The empty index.
pub const fn no_index() -> Vec<usize> {
    Vec::new()
}

/// Used by the output of this version's derive; that of another version fails to compile and names
/// the missing module.
pub mod freeze_derive_0_1_0 {}
