//! A policy under a rule.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::memory::Saved;
use crate::error::Result;
use crate::plan::FreezePlan;
use crate::policy::{Decision, Elapsed, Moment, Needs, Observation, Policy};

/// A policy whose decisions are held to a rule, such as [`AtLeast`](super::AtLeast); made by the
/// methods of [`PolicyExt`](super::PolicyExt).
#[derive(Debug)]
pub struct Ruled<P, R> {
    policy: P,
    rule: R,
}

/// What a rule makes of a policy's decision.
pub(super) trait Rule {
    /// What the rule remembers.
    type Memory: Serialize + DeserializeOwned;

    /// Whether a round of the policy begins at `at`, for rules that count rounds. It is asked before the
    /// policy decides.
    fn begins(&self, policy: &dyn Policy, at: Elapsed) -> bool {
        let _ = (policy, at);
        false
    }

    /// The decision that the rule allows.
    fn apply(&mut self, asked: &Asked<'_>, decision: Decision) -> Result<Decision>;

    /// The rule's name and settings, for the policy described as `of`.
    fn describe(&self, of: &str) -> String;

    /// What the rule remembers now.
    fn memory(&self) -> Self::Memory;

    /// Takes over what a rule remembered.
    fn remember(&mut self, memory: Self::Memory);
}

/// What a policy was asked.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Whether a round [begins](Rule::begins).
    pub(super) begins: bool,
    pub(super) at: Elapsed,
    pub(super) base: &'a FreezePlan,
}

impl<P, R> Ruled<P, R> {
    pub(super) fn new(policy: P, rule: R) -> Self {
        Self { policy, rule }
    }

    /// The policy under the rule.
    pub fn policy(&self) -> &P {
        &self.policy
    }
}

impl<P: Policy, R: Rule> Policy for Ruled<P, R> {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        self.policy.is_due(at, moment)
    }

    fn needs(&self, at: Elapsed) -> Needs {
        self.policy.needs(at)
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        self.policy.observe(seen)
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let begins = self.rule.begins(&self.policy, at);
        let decision = self.policy.decide(at, base)?;
        self.rule.apply(&Asked { begins, at, base }, decision)
    }

    fn describe(&self) -> String {
        self.rule.describe(&self.policy.describe())
    }

    fn state(&self) -> Value {
        Saved::of(self.rule.memory(), [&self.policy as &dyn Policy])
    }

    fn load_state(&mut self, state: &Value) -> Result<()> {
        let Self { policy, rule } = self;
        let describe = policy.describe();
        let memory =
            Saved::load(state, || rule.describe(&describe), &mut [policy as &mut dyn Policy])?;
        self.rule.remember(memory);
        Ok(())
    }
}
