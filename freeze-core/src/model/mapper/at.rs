//! Where a tensor sits in the model, and what it is for.

use super::paths::join;
use crate::plan::{Declared, LeafState};

/// Where a tensor sits.
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
    /// The leaf's place in the plan.
    pub state: LeafState,
    /// What is declared of the tensor.
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
    /// Moved by the forward pass, like a batch norm's running statistics.
    Buffer,
}
