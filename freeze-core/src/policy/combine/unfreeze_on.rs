//! A policy that starts again when the learning rate drops.

use serde_json::Value;

use super::memory::Saved;
use super::span::{Span, check_ends};
use super::trial::Trial;
use crate::error::Result;
use crate::plan::FreezePlan;
use crate::policy::{Decision, Elapsed, Moment, Needs, Observation, Policy};

/// A policy that starts again, with everything thawed, at given shares of the run: those at which the
/// learning rate drops, since layers that had settled move again then. Between two of them the policy sees
/// a run of its own. A policy that needs the weights or the costs at the start of the run, which are not shown
/// again, keeps its state at a drop. It can end the run after the last. Source: Egeria, arXiv:2201.06227.
///
/// The first decision tries the parts to come: what the policy would refuse at a drop is an error then, unless
/// it keeps its state.
#[derive(Debug)]
pub struct UnfreezeOn<P> {
    policy: P,
    /// The policy's state before it was ever asked; `None` if it keeps its state at a drop.
    fresh: Option<Value>,
    at: Vec<f64>,
    /// How many of the shares were reached when it decided last.
    part: usize,
    /// The length of the run, in epochs and steps, whose parts to come were tried.
    tried: Option<(usize, usize)>,
}

impl<P: Policy> UnfreezeOn<P> {
    pub(super) fn new(policy: P, at: Vec<f64>) -> Result<Self> {
        check_ends("at", &at)?;
        let needs = policy.needs(Elapsed::new(0, 1).at_step(0, 1));
        let keeps = needs.contains(Needs::TENSORS) || needs.contains(Needs::COSTS);
        let fresh = (!keeps).then(|| policy.state());
        Ok(Self { fresh, policy, at, part: 0, tried: None })
    }

    /// Tries each part after `part`, once for each length of the run.
    fn try_after(&mut self, part: usize, at: Elapsed, base: &FreezePlan) -> Result<()> {
        let length = Some((at.epochs, at.steps));
        let Some(fresh) = self.fresh.as_ref().filter(|_| self.tried != length) else {
            return Ok(());
        };
        let trial = Trial { name: "unfreeze-on", ends: &self.at, at, base };
        for later in part + 1..=self.at.len() {
            trial.ask(later, &mut self.policy, fresh)?;
        }
        self.tried = length;
        Ok(())
    }
}

impl<P: Policy> Policy for UnfreezeOn<P> {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        // What is wrong with the progress is said by the decision.
        let Ok((part, span)) = Span::at(&self.at, at) else { return true };
        moment == Moment::Start || part != self.part || self.policy.is_due(span.own(at), moment)
    }

    fn needs(&self, at: Elapsed) -> Needs {
        Span::at(&self.at, at).map_or(Needs::NONE, |(_, span)| self.policy.needs(span.own(at)))
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        let (part, span) = Span::asking(&self.at, seen)?;
        match part == self.part || seen.is_at_start() {
            true => self.policy.observe(&seen.timed(span.own(seen.at()))),
            false => Ok(()),
        }
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let (part, span) = Span::at(&self.at, at)?;
        self.try_after(part, at, base)?;
        if part != self.part {
            if let Some(fresh) = &self.fresh {
                self.policy.load_state(fresh)?;
            }
            self.part = part;
        }
        let own = span.own(at);
        let mut decision = self.policy.decide(own, base)?;
        decision.ends_run &= part == self.at.len();
        if part > 0 && (own.epoch, own.step) == (0, 0) {
            let of = self.at.len();
            let text = format!("thawed: the learning rate drops, which is {part} of {of} times");
            let paths = decision.plan.paths().iter().zip(decision.plan.states());
            let trained = paths.filter(|(_, state)| !state.is_frozen());
            let trained: Vec<String> = trained.map(|(path, _)| path.clone()).collect();
            for leaf in trained {
                decision = decision.because(leaf, text.clone());
            }
        }
        Ok(decision.metric("unfreeze_on/part", part as f64))
    }

    fn describe(&self) -> String {
        format!("unfreeze-on(at={:?}, of={})", self.at, self.policy.describe())
    }

    fn state(&self) -> Value {
        Saved::of(self.part, [&self.policy as &dyn Policy])
    }

    fn load_state(&mut self, state: &Value) -> Result<()> {
        let describe = self.describe();
        self.part = Saved::load(state, || describe.clone(), &mut [&mut self.policy])?;
        Ok(())
    }
}
