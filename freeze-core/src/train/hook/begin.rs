//! The start of a run, before its first step.

use crate::error::Result;
use crate::model::{Freezable, Freezer};
use crate::plan::PlanOptimizer;
use crate::policy::{Elapsed, Moment, Policy, Shown};
use crate::train::MetricSink;
use crate::train::hook::{LayerFreezing, Report};

impl<P: Policy, K: MetricSink> LayerFreezing<P, K> {
    /// Applies the policy before the first step, if it is due then. `elapsed` counts nothing as
    /// completed.
    ///
    /// # Errors
    ///
    /// As [`epoch_end`](Self::epoch_end).
    pub fn begin<M: Freezable>(
        &mut self,
        freezer: &mut Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
    ) -> Result<Option<Report>> {
        self.begin_shown(freezer, optimizers, elapsed, Shown::default())
    }

    /// As [`begin`](Self::begin), for a policy that needs more than the variables before the first
    /// step.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin), or the policy refuses what it is shown.
    pub fn begin_shown<M: Freezable>(
        &mut self,
        freezer: &mut Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
        shown: Shown,
    ) -> Result<Option<Report>> {
        self.begun = true;
        let needs = self.needs_at_start(elapsed);
        if !needs.is_empty() {
            let seen = self.observer.at_start(needs, freezer, elapsed);
            self.policy.observe(&seen.shown(shown))?;
        }
        match self.policy.is_due(elapsed, Moment::Start) {
            true => self.apply(freezer, optimizers, elapsed).map(Some),
            false => self.tell_plan(freezer, elapsed).map(|()| None),
        }
    }

    /// Warns once if `begin` never came, this is the run's first step or epoch, and the policy was due before.
    pub(super) fn settle_begin(&mut self, elapsed: Elapsed, is_first: bool) {
        let start = Elapsed { epoch: 0, step: 0, ..elapsed };
        let settled = std::mem::replace(&mut self.begun, true);
        if !settled && is_first && self.policy.is_due(start, Moment::Start) {
            tracing::warn!(
                "the policy acts before the first step, too, and was not asked there; call the \
                 hook's `begin` before the loop"
            );
        }
    }
}
