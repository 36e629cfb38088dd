//! Plans set by hand during a run.

use super::driven::as_plan;
use super::training::Training;
use crate::error::Result;
use crate::model::{BatchNormPolicy, Freezable};
use crate::plan::{Change, FreezePlan};

impl<M: Freezable> Training<M> {
    /// Applies a plan to model and optimizers: see [`Freezer::apply`](crate::Freezer::apply). The
    /// policy refines it from then on.
    ///
    /// # Errors
    ///
    /// As [`Freezer::apply`](crate::Freezer::apply); nothing has changed then.
    pub fn apply(&mut self, plan: &FreezePlan) -> Result<Change> {
        let change = self.freezer.apply(plan, &mut as_plan(&mut self.optimizers))?;
        self.planned();
        Ok(change)
    }

    /// Freezes the first `n` leaves and trains all others as declared: see
    /// [`Freezer::freeze_front`](crate::Freezer::freeze_front).
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), or `n` is larger than the number of leaves.
    pub fn freeze_front(&mut self, n: usize) -> Result<Change> {
        let change = self.freezer.freeze_front(n, &mut as_plan(&mut self.optimizers))?;
        self.planned();
        Ok(change)
    }

    /// Trains every leaf: see [`Freezer::thaw`](crate::Freezer::thaw).
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn thaw(&mut self) -> Result<Change> {
        let change = self.freezer.thaw(&mut as_plan(&mut self.optimizers))?;
        self.planned();
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
