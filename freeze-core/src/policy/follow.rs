//! Applies a schedule's plan; after an error the schedule is as before.

use crate::error::Result;
use crate::model::{Freezable, Freezer};
use crate::plan::{Change, PlanOptimizer};
use crate::policy::{Decision, Elapsed, Schedule};

impl<M: Freezable> Freezer<M> {
    /// Asks `schedule` for its plan at `elapsed` and applies it to model and optimizers. The
    /// returned decision has a reason for each leaf that froze or thawed, and for each whose share
    /// of the learning rate changed if the schedule gave one, in the order of the leaves.
    ///
    /// # Errors
    ///
    /// As [`refine`](Self::refine), or the schedule refuses `elapsed`. Nothing has changed then,
    /// and the schedule has its [`state`](Schedule::state) from before: asked again, it answers the
    /// same.
    pub fn follow<S: Schedule + ?Sized>(
        &mut self,
        schedule: &mut S,
        elapsed: Elapsed,
        optimizers: &mut [&mut dyn PlanOptimizer],
    ) -> Result<(Decision, Change)> {
        let before = schedule.state();
        let plan = self.plan.clone();
        let followed = schedule.plan(elapsed, &self.base).and_then(|decision| {
            let change = self.refine(&decision.plan, optimizers)?;
            Ok((decision.settled(&plan, &self.plan, || schedule.describe()), change))
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
