//! Plans set by hand during a run.

use super::driven::as_plan;
use super::training::Training;
use crate::error::Result;
use crate::model::{BatchNormPolicy, Freezable, Freezer};
use crate::plan::{Change, FreezePlan, PlanOptimizer};

impl<M: Freezable> Training<M> {
    /// Applies a plan to model and optimizers: see [`Freezer::apply`](crate::Freezer::apply). It holds as it is until
    /// the policy is next due, and the policy refines it from then on; a policy that acts at the start alone, such as
    /// `all-trained` or `spectrum`, does so no more. Give the policy anew ([`policy`](Self::policy)) to have it begin
    /// on this plan.
    ///
    /// # Errors
    ///
    /// As [`Freezer::apply`](crate::Freezer::apply); nothing has changed then.
    pub fn apply(&mut self, plan: &FreezePlan) -> Result<Change> {
        self.by_hand(|freezer, optimizers| freezer.apply(plan, optimizers))
    }

    /// Freezes the first `n` leaves and trains all others as declared: see
    /// [`Freezer::freeze_front`](crate::Freezer::freeze_front).
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), or `n` is larger than the number of leaves.
    pub fn freeze_front(&mut self, n: usize) -> Result<Change> {
        self.by_hand(|freezer, optimizers| freezer.freeze_front(n, optimizers))
    }

    /// Trains every leaf: see [`Freezer::thaw`](crate::Freezer::thaw).
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn thaw(&mut self) -> Result<Change> {
        self.by_hand(|freezer, optimizers| freezer.thaw(optimizers))
    }

    /// Changes the plan, and keeps which leaves it changed for the sinks.
    fn by_hand(
        &mut self,
        change: impl FnOnce(&mut Freezer<M>, &mut [&mut dyn PlanOptimizer]) -> Result<Change>,
    ) -> Result<Change> {
        let before = self.freezer.plan().clone();
        let change = change(&mut self.freezer, &mut as_plan(&mut self.optimizers))?;
        self.planned();
        let plan = self.freezer.plan();
        let states = before.states().iter().zip(plan.states());
        for (leaf, (before, now)) in plan.paths().iter().zip(states) {
            if before != now && !self.set_by_hand.contains(leaf) {
                self.set_by_hand.push(leaf.clone());
            }
        }
        Ok(change)
    }

    /// Sets what frozen batch norms normalise by from now on.
    ///
    /// # Errors
    ///
    /// A frozen layer does not support the policy; nothing has changed then.
    pub fn set_batch_norm(&mut self, policy: BatchNormPolicy) -> Result<()> {
        self.freezer.set_batch_norm(policy)
    }
}
