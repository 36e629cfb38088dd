//! How ranks work together.

use super::collective::Collective;
use super::group::Group;

/// How the ranks of a run work together. A [`Collective`] or a [`Group`] is one with the defaults.
#[derive(Clone, Debug)]
pub struct Parallel {
    pub(crate) group: Group,
    /// Whether gradients travel as bf16.
    pub(crate) halves: bool,
}

impl Parallel {
    /// Gradients of `f16`, `bf16` and `f32` variables travel as `f32`, those of `f64` as `f64`.
    pub fn new(group: Group) -> Self {
        Self { group, halves: false }
    }

    /// Has gradients of `f16`, `bf16` and `f32` variables travel as `bf16`, in half of the bytes: each rank's is
    /// rounded to 8 bits of precision, they are added in `f32`, and the sum is rounded again.
    pub fn bf16(self) -> Self {
        Self { halves: true, ..self }
    }
}

impl From<Group> for Parallel {
    fn from(group: Group) -> Self {
        Self::new(group)
    }
}

impl<C: Collective + 'static> From<C> for Parallel {
    fn from(collective: C) -> Self {
        Self::new(Group::new(collective))
    }
}
