//! A policy that is asked less often.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::memory::Saved;
use super::overrule::uncounted;
use crate::error::{Error, Result, at_least_1};
use crate::plan::{FreezePlan, LeafState, StatePolicy};
use crate::policy::{Decision, Elapsed, Moment, Needs, Observation, Policy};

/// A policy that decides after every so many optimizer steps, and before the first if it wants to;
/// in between its last decision holds. It observes all that it needs. An interval that is longer than the run is an
/// error at the start.
#[derive(Debug)]
pub struct Every<P> {
    policy: P,
    steps: usize,
    last: Option<Last>,
}

/// The decision that holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    states: Vec<LeafState>,
    frozen_state: Option<StatePolicy>,
    ends_run: bool,
}

impl<P: Policy> Every<P> {
    pub(super) fn new(policy: P, steps: usize) -> Result<Self> {
        Ok(Self { policy, steps: at_least_1("steps", steps)?, last: None })
    }

    /// Whether the interval is longer than the run.
    fn never_acts(&self, at: Elapsed) -> bool {
        at.steps > 0 && self.steps > at.steps
    }
}

impl<P: Policy> Policy for Every<P> {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        match moment {
            Moment::Start => self.never_acts(at) || self.policy.is_due(at, moment),
            // Without steps it is asked, to say so.
            _ => at.steps == 0 || at.step.is_multiple_of(self.steps),
        }
    }

    fn needs(&self, at: Elapsed) -> Needs {
        self.policy.needs(at)
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        self.policy.observe(seen)
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        at.check_steps()?;
        if self.never_acts(at) {
            let why = format!("it acts every {} steps, and there are {}", self.steps, at.steps);
            return Err(Error::policy("every", why));
        }
        if at.step.is_multiple_of(self.steps) {
            let decision = self.policy.decide(at, base)?;
            let (states, frozen_state) = (decision.plan.states().to_vec(), decision.frozen_state);
            self.last = Some(Last { states, frozen_state, ends_run: decision.ends_run });
            return Ok(decision);
        }
        let mut decision = Decision::new(base.clone());
        if let Some(last) = &self.last {
            for (leaf, state) in last.states.iter().enumerate().take(base.len()) {
                decision.plan.set(leaf, *state)?;
            }
            decision.frozen_state = last.frozen_state;
            decision.ends_run = last.ends_run;
        }
        Ok(uncounted(decision))
    }

    fn describe(&self) -> String {
        format!("every(steps={}, of={})", self.steps, self.policy.describe())
    }

    fn state(&self) -> Value {
        Saved::of(self.last.clone(), [&self.policy as &dyn Policy])
    }

    fn load_state(&mut self, state: &Value) -> Result<()> {
        let describe = self.describe();
        self.last = Saved::load(state, || describe.clone(), &mut [&mut self.policy])?;
        Ok(())
    }
}
