//! Policies one after the other.

use serde_json::Value;

use super::memory::Saved;
use super::span::{Span, check_ends};
use super::trial::Trial;
use crate::error::Result;
use crate::plan::FreezePlan;
use crate::policy::{Boxed, Decision, Elapsed, Moment, Needs, Observation, Policy};

/// Policies one after the other, each for a part of the run.
///
/// Each sees its part as a run of its own: its time begins with the part's first step and ends with
/// its last, so a schedule that would freeze half of the way through the run freezes half of the way through
/// its part. At a change the next policy is asked at once, and begins from the base plan. Only the last can end
/// the run.
///
/// The first decision tries the parts to come: what one of them would refuse when it begins is an error then.
pub struct Then {
    policies: Vec<Boxed>,
    /// Where each but the last ends, as a share of the run.
    ends: Vec<f64>,
    /// The part that decided last.
    part: usize,
    /// The length of the run, in epochs and steps, whose parts to come were tried. Within another policy
    /// each part has its own.
    tried: Option<(usize, usize)>,
}

impl Then {
    pub(super) fn new(policies: Vec<Boxed>, ends: Vec<f64>) -> Result<Self> {
        check_ends("until", &ends)?;
        Ok(Self { policies, ends, part: 0, tried: None })
    }

    /// The last policy ends at the share `until` of the run, and `next` follows.
    ///
    /// # Errors
    ///
    /// `until` is not above the share at which the last policy begins, or not less than 1.
    pub fn then(mut self, until: f64, next: impl Policy + Send + 'static) -> Result<Self> {
        self.policies.push(Box::new(next));
        self.ends.push(until);
        Self::new(self.policies, self.ends)
    }

    /// The policy whose turn it is, and its time.
    fn turn(&self, at: Elapsed) -> Result<(usize, &Boxed, Elapsed)> {
        let (part, span) = Span::at(&self.ends, at)?;
        Ok((part, &self.policies[part], span.own(at)))
    }

    /// Tries each part after `part`, once for each length of the run.
    fn try_after(&mut self, part: usize, at: Elapsed, base: &FreezePlan) -> Result<()> {
        let length = Some((at.epochs, at.steps));
        if self.tried == length {
            return Ok(());
        }
        let trial = Trial { name: "then", ends: &self.ends, at, base };
        for (later, policy) in self.policies.iter_mut().enumerate().skip(part + 1) {
            let fresh = policy.state();
            trial.ask(later, policy, &fresh)?;
        }
        self.tried = length;
        Ok(())
    }
}

impl Policy for Then {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        // What is wrong with the progress is said by the decision.
        let Ok((part, policy, own)) = self.turn(at) else { return true };
        moment == Moment::Start || part != self.part || policy.is_due(own, moment)
    }

    fn needs(&self, at: Elapsed) -> Needs {
        self.turn(at).map_or(Needs::NONE, |(_, policy, own)| policy.needs(own))
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        let (part, span) = Span::asking(&self.ends, seen)?;
        self.policies[part].observe(&seen.timed(span.own(seen.at())))
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let (part, _, own) = self.turn(at)?;
        self.try_after(part, at, base)?;
        let mut decision = self.policies[part].decide(own, base)?;
        decision.ends_run &= part + 1 == self.policies.len();
        self.part = part;
        Ok(decision.metric("then/part", part as f64))
    }

    fn describe(&self) -> String {
        let ends = self.ends.iter().map(|end| format!(" until {end}")).chain([String::new()]);
        let parts = self.policies.iter().zip(ends);
        let parts: Vec<String> = parts.map(|(policy, end)| policy.describe() + &end).collect();
        format!("then({})", parts.join(", "))
    }

    fn state(&self) -> Value {
        Saved::of(self.part, self.policies.iter().map(|policy| policy as &dyn Policy))
    }

    fn load_state(&mut self, state: &Value) -> Result<()> {
        let describe = self.describe();
        let mut policies: Vec<&mut dyn Policy> = Vec::new();
        for policy in &mut self.policies {
            policies.push(policy);
        }
        self.part = Saved::load(state, || describe.clone(), &mut policies)?;
        Ok(())
    }
}

impl std::fmt::Debug for Then {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Then").field(&self.describe()).finish()
    }
}
