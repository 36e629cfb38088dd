//! The run ends when everything is frozen.

use super::ruled::{Asked, Rule};
use crate::error::Result;
use crate::plan::LeafState;
use crate::policy::Decision;

/// The run ends when the policy freezes all that it may: what the base plan trains and is not declared `always`.
/// Policies that freeze from the front leave the last leaf, and never get there, unless it is declared `always`: then
/// the run ends once all in front of it is frozen.
#[derive(Clone, Copy, Debug)]
pub struct EndsWhenFrozen;

impl Rule for EndsWhenFrozen {
    type Memory = ();

    fn apply(&mut self, asked: &Asked<'_>, mut decision: Decision) -> Result<Decision> {
        let mut free =
            (0..decision.plan.len()).filter(|&leaf| asked.base.may_freeze(leaf)).peekable();
        let is_frozen = |leaf| decision.plan.state(leaf).is_some_and(LeafState::is_frozen);
        decision.ends_run |= free.peek().is_some() && free.all(is_frozen);
        Ok(decision)
    }

    fn describe(&self, of: &str) -> String {
        format!("early-stop(of={of})")
    }

    fn memory(&self) {}

    fn remember(&mut self, (): ()) {}
}
