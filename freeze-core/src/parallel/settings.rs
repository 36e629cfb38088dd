//! How ranks work together.

use super::collective::Collective;
use super::group::Group;
use crate::error::{Result, at_least_1};

/// How the ranks of a run work together. A [`Collective`] or a [`Group`] is one with the defaults.
#[derive(Clone, Debug)]
pub struct Parallel {
    pub(crate) group: Group,
    /// Whether gradients travel as bf16.
    pub(crate) halves: bool,
    /// The bytes of a bucket of gradients that travel within the backward.
    pub(crate) bucket: Option<usize>,
    /// Whether each rank keeps the optimizer state of a share of the variables.
    pub(crate) shards: bool,
}

impl Parallel {
    /// Gradients of `f16`, `bf16` and `f32` variables travel as `f32`, those of `f64` as `f64`.
    pub fn new(group: Group) -> Self {
        Self { group, halves: false, bucket: None, shards: false }
    }

    /// Has gradients of `f16`, `bf16` and `f32` variables travel as `bf16`, in half of the bytes: each rank's is
    /// rounded to 8 bits of precision, they are added in `f32`, and the sum is rounded again.
    pub fn bf16(self) -> Self {
        Self { halves: true, ..self }
    }

    /// Sends gradients while the backward goes on, in buckets of at least `bytes`, the last declared variables first:
    /// each is sent as soon as it is whole (Li et al. 2020, arXiv:2006.15704; 25 MiB there). The last bucket comes at
    /// the front of what trains, so nothing waits for a frozen front. A bucket is whole within the backward if
    /// operations of [`nn`](crate::nn) make its gradients; others, and gradients that are accumulated, are sent after
    /// it. Calls come from a second thread then, so it is not for batch norms [across](crate::nn::BatchNorm::across)
    /// the ranks.
    ///
    /// # Errors
    ///
    /// `bytes` is 0.
    pub fn within_backward(self, bytes: usize) -> Result<Self> {
        Ok(Self { bucket: Some(at_least_1("bytes", bytes)?), ..self })
    }

    /// Has each rank keep the optimizer state of a share of the variables, update those, and hand the new weights to the
    /// others (ZeRO stage 1: Rajbhandari et al. 2020, arXiv:1910.02054). The state of a rank then takes a part of the bytes;
    /// each step also sends the weights that train. Shares are of whole variables, balanced in whatever is left when front
    /// layers freeze, so that no state moves. Checkpoints hold the whole state, and go on with any number of ranks, sharded
    /// or not. Weights are bit-identical to those
    /// without it, but for halves that are clipped: their clipped gradients are rounded.
    ///
    /// Optimizers must be those of [`optim`](crate::optim), clipped by [`Training::clip`](crate::Training::clip) if at
    /// all, and a policy must not need what is measured in updates.
    pub fn shard_optimizer_state(self) -> Self {
        Self { shards: true, ..self }
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
