//! A policy that rank 0 asks for all.

use crate::checkpoint::{from_bytes, to_bytes};
use crate::error::{Error, Result};
use crate::parallel::Group;
use crate::plan::FreezePlan;
use crate::policy::{Boxed, Decision, Elapsed, Moment, Needs, Observation, Policy};

/// The policy of a rank. It is asked on rank 0, whose answer is that of all.
pub(super) struct Led {
    policy: Boxed,
    group: Group,
}

impl Led {
    pub(super) fn new(policy: Boxed, group: &Group) -> Self {
        Self { policy, group: group.clone() }
    }
}

impl Policy for Led {
    /// An error between the ranks is that of the next call.
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        let own = || Ok(vec![u8::from(self.policy.is_due(at, moment))]);
        self.group.spread("whether the policy is due", own).is_ok_and(|due| due == [1])
    }

    fn needs(&self, at: Elapsed) -> Needs {
        match self.group.leads() {
            true => self.policy.needs(at),
            false => Needs::NONE,
        }
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        self.policy.observe(seen)
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let Self { policy, group } = self;
        let bytes = group.spread("the decision of the policy", || {
            let decision = policy.decide(at, base)?;
            to_bytes(&decision).map_err(Error::training)
        })?;
        from_bytes(&bytes).map_err(Error::training)
    }

    fn describe(&self) -> String {
        self.policy.describe()
    }

    fn state(&self) -> serde_json::Value {
        self.policy.state()
    }

    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        self.policy.load_state(state)
    }
}
