//! Applies a policy's decision; after an error the policy is as before.

use crate::error::Result;
use crate::model::{Freezable, Freezer};
use crate::plan::{Change, PlanOptimizer};
use crate::policy::{Decision, Elapsed, Policy, Reason};

/// Whether a policy may freeze everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Floor {
    /// The last leaf that can train does.
    #[default]
    LastLeaf,
    Nothing,
}

impl<M: Freezable> Freezer<M> {
    /// Asks `policy` for its decision at `elapsed` and applies it to model and optimizers. The
    /// returned decision has a reason for each leaf that froze or thawed, and for each whose share
    /// of the learning rate changed if the policy gave one, in the order of the leaves.
    ///
    /// Leaves that the base plan freezes stay frozen, and if the decision would leave nothing to
    /// train, the last leaf that the base plan trains does.
    ///
    /// # Errors
    ///
    /// As [`refine`](Self::refine), or the policy refuses `elapsed`. Nothing has changed then,
    /// and the policy has its [`state`](Policy::state) from before: asked again, it answers the
    /// same.
    pub fn follow<P: Policy + ?Sized>(
        &mut self,
        policy: &mut P,
        elapsed: Elapsed,
        optimizers: &mut [&mut dyn PlanOptimizer],
    ) -> Result<(Decision, Change)> {
        self.follow_down_to(Floor::LastLeaf, policy, elapsed, optimizers)
    }

    pub(crate) fn follow_down_to<P: Policy + ?Sized>(
        &mut self,
        floor: Floor,
        policy: &mut P,
        elapsed: Elapsed,
        optimizers: &mut [&mut dyn PlanOptimizer],
    ) -> Result<(Decision, Change)> {
        let before = policy.state();
        let plan = self.plan.clone();
        let followed = policy.decide(elapsed, &self.base).and_then(|mut decision| {
            self.keep_rules(&mut decision, floor)?;
            let memory = (decision.frozen_state, &decision.restarts[..]);
            let change = self.refine_as(&decision.plan, memory, optimizers)?;
            Ok((decision.settled(&plan, &self.plan, || policy.describe()), change))
        });
        if followed.is_err()
            && let Err(error) = policy.load_state(&before)
        {
            let policy = policy.describe();
            tracing::error!(%error, policy, "a policy refuses the state it was in itself");
        }
        if let Ok((decision, _)) = &followed {
            for Reason { leaf, text } in &decision.why {
                tracing::info!(leaf, why = text, "leaf changed");
                self.why.insert(leaf.clone(), text.clone());
            }
        }
        followed
    }

    /// Freezes what the user froze, and trains the last leaf that can if nothing else does.
    pub(crate) fn keep_rules(&self, decision: &mut Decision, floor: Floor) -> Result<()> {
        let plan = &mut decision.plan;
        plan.check_paths(self.base.paths())?;
        plan.freeze_as(&self.base);
        if floor == Floor::LastLeaf
            && let Some(leaf) = self.inventory.last_trained(&self.base)
            && self.inventory.last_trained(&plan.keeping_always(&self.base)).is_none()
            && let Some(state) = self.base.state(leaf)
        {
            plan.set(leaf, state)?;
        }
        Ok(())
    }
}
