//! The run ends when everything is frozen.

use super::ruled::{Asked, Rule};
use crate::error::Result;
use crate::policy::Decision;

/// The run ends when the policy freezes all that the base plan trains. Policies that freeze from the front
/// leave the last leaf, and never get there.
#[derive(Clone, Copy, Debug)]
pub struct EndsWhenFrozen;

impl Rule for EndsWhenFrozen {
    type Memory = ();

    fn apply(&mut self, asked: &Asked<'_>, mut decision: Decision) -> Result<Decision> {
        let leaves = decision.plan.len();
        let trained = asked.base.frozen_leaves() < leaves;
        decision.ends_run |= trained && decision.plan.frozen_leaves() == leaves;
        Ok(decision)
    }

    fn describe(&self, of: &str) -> String {
        format!("early-stop(of={of})")
    }

    fn memory(&self) {}

    fn remember(&mut self, (): ()) {}
}
