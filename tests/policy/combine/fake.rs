//! A policy whose decisions are written down.

use freeze_core::policy::{Moment, Needs, Observation};
use freeze_core::{Decision, Elapsed, Error, FreezePlan, LeafState, Policy, Result};
use serde_json::Value;

use crate::data::script::Script;

/// At each step it freezes the leaves that are listed for it; the last list holds on. It counts what it
/// observes and the points at which it was asked, and is due after each step.
pub struct Fake {
    pub frozen: Vec<Vec<usize>>,
    pub rate: f64,
    pub needs: Needs,
    pub observed: usize,
    pub asked: Vec<(usize, usize)>,
}

impl Fake {
    pub fn new(frozen: &[&[usize]]) -> Self {
        let frozen = frozen.iter().map(|leaves| leaves.to_vec()).collect();
        Self { frozen, rate: 1.0, needs: Needs::NONE, observed: 0, asked: Vec::new() }
    }

    pub fn at_rate(self, rate: f64) -> Self {
        Self { rate, ..self }
    }

    pub fn needing(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }
}

impl Policy for Fake {
    fn is_due(&self, _: Elapsed, moment: Moment) -> bool {
        moment != Moment::Start
    }

    fn needs(&self, _: Elapsed) -> Needs {
        self.needs
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        match seen.loss() {
            Some(loss) if loss.is_nan() => {
                let name = "loss".into();
                Err(Error::Observed { name, what: "loss", value: loss })
            }
            _ => {
                self.observed += 1;
                Ok(())
            }
        }
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        at.fraction()?;
        self.asked.push((at.step, at.steps));
        let mut plan = base.clone();
        let frozen = self.frozen.get(at.step).or(self.frozen.last());
        for leaf in 0..plan.len() {
            plan.scale(leaf, self.rate)?;
        }
        let mut decision = Decision::new(plan).metric(Decision::LAYERS_FROZEN, 77.0);
        for &leaf in frozen.into_iter().flatten() {
            decision.plan.set(leaf, LeafState::Frozen)?;
            decision =
                decision.because(leaf.to_string(), format!("froze: the list of {}", at.step));
        }
        Ok(decision)
    }

    fn describe(&self) -> String {
        "fake".into()
    }

    fn state(&self) -> Value {
        self.observed.into()
    }

    fn load_state(&mut self, state: &Value) -> Result<()> {
        let why = || Error::PolicyState { policy: "fake".into(), why: "it is no number".into() };
        self.observed = state.as_u64().ok_or_else(why)? as usize;
        Ok(())
    }
}

/// Keeps of each variable whether it was shown the gradient and the weight.
pub struct Looks {
    pub needs: Needs,
    pub shown: Vec<(bool, bool)>,
}

impl Policy for Looks {
    fn needs(&self, _: Elapsed) -> Needs {
        self.needs
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        for seen in seen.tensors() {
            let gradient = seen.gradient_norms()?.is_some();
            self.shown.push((gradient, seen.weight_norms()?.is_some()));
        }
        Ok(())
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "looks".into()
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.shown).expect("flags")
    }

    fn load_state(&mut self, state: &Value) -> Result<()> {
        self.shown = serde_json::from_value(state.clone()).expect("flags");
        Ok(())
    }
}

/// Freezes everything, and is due once after each observation.
#[derive(Default)]
pub struct OnNews {
    is_new: bool,
}

impl Policy for OnNews {
    fn is_due(&self, _: Elapsed, moment: Moment) -> bool {
        moment != Moment::Start && self.is_new
    }

    fn observe(&mut self, _: &Observation) -> Result<()> {
        self.is_new = true;
        Ok(())
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let mut plan = base.clone();
        plan.freeze("**")?;
        self.is_new = false;
        Ok(Decision::new(plan))
    }

    fn describe(&self) -> String {
        "on-news".into()
    }

    fn state(&self) -> Value {
        self.is_new.into()
    }

    fn load_state(&mut self, state: &Value) -> Result<()> {
        self.is_new = state.as_bool().expect("a flag");
        Ok(())
    }
}

/// Looks at the sum of gradients after every so many steps.
pub struct Sums {
    pub every: usize,
}

impl Policy for Sums {
    fn needs(&self, at: Elapsed) -> Needs {
        match (at.step + 1).is_multiple_of(self.every) {
            true => Needs::SUM_GRADIENTS | Needs::GRADIENT_SUM,
            false => Needs::SUM_GRADIENTS,
        }
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        Ok(Decision::new(base.clone()))
    }

    fn describe(&self) -> String {
        "sums".into()
    }
}

/// Progress in a run of one epoch of 10 steps.
pub fn at(step: usize) -> Elapsed {
    Elapsed::new(step / 10, 1).at_step(step, 10)
}

/// A plan of this many leaves, all trained.
pub fn plan(leaves: usize) -> FreezePlan {
    Script::new(leaves, 1, 1).net.plan().clone()
}

/// The indices of the frozen leaves.
pub fn frozen(decision: &Decision) -> Vec<usize> {
    let states = decision.plan.states().iter().enumerate();
    states.filter(|(_, state)| state.is_frozen()).map(|(leaf, _)| leaf).collect()
}

/// The reason for the leaf at `index`.
pub fn why(decision: &Decision, index: usize) -> Vec<&str> {
    let path = index.to_string();
    decision.why.iter().filter(|why| why.leaf == path).map(|why| why.text.as_str()).collect()
}
