//! The position of a tensor in the model, and its role.

use super::paths::join;
use crate::plan::{Declared, LeafState};

/// The position of a tensor in the model.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct At<'a> {
    /// The leaf's index, counted from the front of the model.
    pub leaf: usize,
    /// The leaf's path, such as `blocks.3.conv1`; empty if the model itself is a leaf.
    pub path: &'a str,
    /// The leaf's type name.
    pub kind: &'static str,
    /// The tensor's name within the leaf, such as `weight`; empty for a bare tensor.
    pub param: &'a str,
    /// Parameter or running statistic.
    pub role: Role,
    /// The leaf's state in the plan.
    pub state: LeafState,
    /// The attributes declared for the tensor.
    pub declared: Declared,
}

impl At<'_> {
    /// The full name: path and parameter, joined by a dot.
    pub fn name(&self) -> String {
        join(self.path, self.param)
    }
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trained by gradients.
    Weight,
    /// Updated by the forward pass, like a batch norm's running statistics.
    Buffer,
}
