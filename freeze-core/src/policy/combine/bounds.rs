//! At least, or at most, a share of the leaves is frozen.

use super::overrule::overrule;
use super::ruled::{Asked, Rule};
use super::share::{at_least, at_most};
use crate::error::Result;
use crate::plan::LeafState;
use crate::policy::Decision;

/// At least this share of the leaves is frozen: leaves that are missing freeze from the front. The
/// last leaf that trains is not frozen for it, nor one that is declared `always`.
#[derive(Clone, Copy, Debug)]
pub struct AtLeast(pub(super) f64);

/// At most this share of the leaves is frozen: leaves that are too many train as in the base plan,
/// those farthest back first. Leaves that the user froze count, and stay frozen.
#[derive(Clone, Copy, Debug)]
pub struct AtMost(pub(super) f64);

impl Rule for AtLeast {
    type Memory = ();

    fn apply(&mut self, _: &Asked<'_>, decision: Decision) -> Result<Decision> {
        let (plan, share) = (&decision.plan, self.0);
        let least = at_least(share, plan.len());
        let missing = least.saturating_sub(plan.frozen_leaves());
        let trains = |leaf: &usize| plan.state(*leaf).is_some_and(|state| !state.is_frozen());
        let mut free: Vec<usize> = (0..plan.len()).filter(trains).collect();
        free.pop();
        free.retain(|&leaf| !plan.is_always(leaf));
        let text = format!("froze: {least} of {} leaves are frozen at least", plan.len());
        let frozen = |leaf| (leaf, (LeafState::Frozen, Some(text.clone())));
        let changed = free.into_iter().take(missing).map(frozen).collect();
        overrule(decision, changed)
    }

    fn describe(&self, of: &str) -> String {
        format!("with-floor(share={}, of={of})", self.0)
    }

    fn memory(&self) {}

    fn remember(&mut self, (): ()) {}
}

impl Rule for AtMost {
    type Memory = ();

    fn apply(&mut self, asked: &Asked<'_>, decision: Decision) -> Result<Decision> {
        let plan = &decision.plan;
        let most = at_most(self.0, plan.len());
        let too_many = plan.frozen_leaves().saturating_sub(most);
        let states = plan.states().iter().zip(asked.base.states()).enumerate();
        let text = format!("trains: {most} of {} leaves are frozen at most", plan.len());
        let thawed = states
            .rev()
            .filter(|(_, (state, base))| state.is_frozen() && !base.is_frozen())
            .take(too_many)
            .map(|(leaf, (_, base))| (leaf, (*base, Some(text.clone()))))
            .collect();
        overrule(decision, thawed)
    }

    fn describe(&self, of: &str) -> String {
        format!("with-ceiling(share={}, of={of})", self.0)
    }

    fn memory(&self) {}

    fn remember(&mut self, (): ()) {}
}
