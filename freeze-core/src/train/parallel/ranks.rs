//! The ranks of a run, as the run holds them.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Result as Candle, TensorId, Var};

use super::buckets::Buckets;
use super::courier::Courier;
use crate::parallel::{Group, Parallel, Traffic};

/// The ranks of a run.
#[derive(Debug)]
pub(in crate::train) struct Ranks {
    /// Who sends gradients within the backward, after the first. Its thread has a handle to the group and
    /// ends first, so that the group ends on the rank's own.
    pub(super) courier: Option<Courier>,
    pub(super) group: Group,
    pub(super) halves: bool,
    pub(super) bucket: Option<usize>,
    pub(super) shards: bool,
    /// Which rank updates which variable, if they share the optimizer state.
    pub(super) owners: Option<HashMap<TensorId, usize>>,
    /// Whether the ranks have begun with the same state.
    pub(super) begun: bool,
    /// Whether they replace others that had met.
    pub(super) come_late: bool,
    /// Whether the policy is asked on rank 0 for all.
    pub(super) led: bool,
    /// Whether rank 0 saves between steps.
    pub(super) saves_by_steps: bool,
    /// The fingerprint of what trains, which is the same on all ranks.
    pub(super) plan: u64,
    /// What had been sent when the epoch began.
    pub(super) sent: Traffic,
}

impl Ranks {
    pub(super) fn new(parallel: Parallel) -> Self {
        let Parallel { group, halves, bucket, shards } = parallel;
        Self {
            courier: None,
            group,
            halves,
            bucket,
            shards,
            owners: None,
            begun: false,
            come_late: false,
            led: false,
            saves_by_steps: false,
            plan: 0,
            sent: Traffic::default(),
        }
    }

    /// Buckets of at least `bytes` for what trains, whose mean over the ranks is taken. Those on cards stay there if the
    /// ranks add up there, and as many bytes are to travel.
    pub(super) fn buckets(&self, trained: &[(Arc<str>, Var)], bytes: usize) -> Candle<Buckets> {
        Buckets::new(trained, bytes, 1.0 / self.group.size() as f64, &|device| self.stays(device))
    }

    /// Whether gradients on this device are added up there.
    pub(super) fn stays(&self, device: &Device) -> bool {
        !self.halves && self.group.adds_up_on(device)
    }
}
