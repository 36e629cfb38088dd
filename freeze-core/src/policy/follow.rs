//! A schedule's plan, applied or not made at all.

use crate::error::Result;
use crate::model::{Freezable, Freezer};
use crate::plan::{Change, PlanOptimizer};
use crate::policy::{Elapsed, Schedule, Scheduled};

impl<M: Freezable> Freezer<M> {
    /// Asks `schedule` for its plan at `elapsed` and applies it to model and optimizers.
    ///
    /// # Errors
    ///
    /// As [`refine`](Self::refine), or `elapsed` makes no sense to the schedule. Nothing has changed
    /// then, and the schedule is put back to the [`state`](Schedule::state) it was in: asked again, it
    /// answers the same.
    pub fn follow<S: Schedule + ?Sized>(
        &mut self,
        schedule: &mut S,
        elapsed: Elapsed,
        optimizers: &mut [&mut dyn PlanOptimizer],
    ) -> Result<(Scheduled, Change)> {
        let before = schedule.state();
        let followed = schedule.plan(elapsed, &self.base).and_then(|scheduled| {
            let change = self.refine(&scheduled.plan, optimizers)?;
            Ok((scheduled, change))
        });
        if followed.is_err()
            && let Err(error) = schedule.load_state(&before)
        {
            let schedule = schedule.describe();
            tracing::error!(%error, schedule, "a schedule refuses the state it was in itself");
        }
        followed
    }
}
