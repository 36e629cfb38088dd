//! A run without training: every quantity is observed with numbers that the step and the leaf decide.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use freeze_core::forecast::{Calibration, calibrate};
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear};
use freeze_core::policy::{Boxed, Moment, Needs, Observation, Output, Policy, Seen};
use freeze_core::{Decision, Elapsed, Freezer, Norms, PlannedVar, Result};

pub type Net = Vec<Linear>;

/// A model and the points of a run of it.
pub struct Script {
    pub net: Freezer<Net>,
    pub epochs: usize,
    /// Optimizer steps in an epoch.
    pub steps: usize,
    costs: Option<Arc<Calibration>>,
}

/// What becomes of the policy after each point.
pub type Between<'a> = &'a mut dyn FnMut(&mut Boxed, Elapsed, &Script) -> Result<()>;

impl Script {
    pub fn new(leaves: usize, epochs: usize, steps: usize) -> Self {
        let vb: VarBuilder<'_> = Seeded::builder(3, DType::F32, &Device::Cpu);
        let layer = |i: usize| linear(2, 2, vb.pp(i)).expect("a layer");
        let net = Freezer::new((0..leaves).map(layer).collect::<Net>()).expect("a freezer");
        Self { net, epochs, steps, costs: None }
    }

    /// The same with the costs of the model's operations, which are measured once for each size.
    pub fn with_costs(mut self) -> Self {
        static MEASURED: Mutex<BTreeMap<usize, Option<Arc<Calibration>>>> =
            Mutex::new(BTreeMap::new());
        let mut measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
        let leaves = self.net.plan().len();
        self.costs = measured.entry(leaves).or_insert_with(|| self.measured()).clone();
        self
    }

    fn measured(&self) -> Option<Arc<Calibration>> {
        let input = Tensor::ones((2, 2), DType::F32, &Device::Cpu).expect("an input");
        let loss = |net: &Net| {
            let out = net.iter().try_fold(input.clone(), |xs, layer| xs.apply(layer))?;
            out.sqr()?.mean_all()
        };
        calibrate(&self.net, loss).ok().map(Arc::new)
    }

    /// A run of the same size from the start, with the same costs.
    pub fn again(&self) -> Self {
        let costs = self.costs.clone();
        Self { costs, ..Self::new(self.net.plan().len(), self.epochs, self.steps) }
    }

    /// Every decision of the run, in order; the plan of the freezer follows.
    pub fn play(&mut self, policy: &mut Boxed, between: Between<'_>) -> Result<Vec<Decision>> {
        let total = self.epochs * self.steps;
        let mut decisions = Vec::new();
        let start = Elapsed::new(0, self.epochs).at_step(0, total);
        let at_start = Needs::TENSORS | Needs::OUTPUTS | Needs::COSTS;
        if !policy.needs(start).and(at_start).is_empty() {
            policy.observe(&self.seen(Observation::at_start(start), 0))?;
        }
        self.ask(policy, start, Moment::Start, &mut decisions)?;
        between(policy, start, self)?;
        for step in 1..=total {
            let before =
                Elapsed::new((step - 1) / self.steps, self.epochs).at_step(step - 1, total);
            let at = Elapsed::new(step / self.steps, self.epochs).at_step(step, total);
            if !policy.needs(before).is_empty() {
                let loss = 1.0 / step as f64;
                policy.observe(&self.seen(Observation::after_step(at, loss), step))?;
            }
            let ends = step.is_multiple_of(self.steps);
            let moment = if ends { Moment::Epoch } else { Moment::Step };
            self.ask(policy, at, moment, &mut decisions)?;
            between(policy, at, self)?;
        }
        Ok(decisions)
    }

    fn ask(
        &mut self,
        policy: &mut Boxed,
        at: Elapsed,
        moment: Moment,
        decisions: &mut Vec<Decision>,
    ) -> Result<()> {
        if policy.is_due(at, moment) {
            decisions.push(policy.decide(at, self.net.base())?);
            self.net.follow(policy, at, &mut [])?;
        }
        Ok(())
    }

    /// Everything that can be seen of the leaves that train.
    fn seen(&self, mut seen: Observation, step: usize) -> Observation {
        for PlannedVar { name, var, leaf, state, .. } in self.net.planned_vars() {
            let leaf = leaf.parse().expect("leaves of a list are numbers");
            let of = |quantity: usize| 0.01 + noise(step, leaf, quantity);
            let norms = |quantity| Norms { l1: 2.0 * of(quantity), l2: of(quantity) };
            if state.is_frozen() && !seen.is_at_start() {
                continue;
            }
            let one = Seen::new(leaf, name, var.elem_count()).var(var);
            seen = seen.tensor(
                one.gradient(norms(1))
                    .update(norms(2))
                    .weight(norms(3))
                    .weight_change(norms(4))
                    .gradient_change(norms(5))
                    .gradient_sum(norms(6))
                    .relative_update(of(7))
                    .signal_to_noise(of(8))
                    .loss_drop(of(9) - 0.3),
            );
        }
        let output = |leaf: usize| {
            let numbers: Vec<f32> = (0..6).map(|i| noise(step, leaf, 20 + i) as f32).collect();
            let tensor = Tensor::from_vec(numbers, (3, 2), &Device::Cpu).expect("an output");
            Output { leaves: leaf + 1, tensor }
        };
        let leaves = self.net.plan().len();
        seen = seen.outputs((0..leaves.min(16)).map(output).collect());
        match &self.costs {
            Some(costs) => seen.costs(Arc::clone(costs)),
            None => seen,
        }
    }
}

/// A number in [0, 1) with few different values, so that there are ties.
fn noise(step: usize, leaf: usize, quantity: usize) -> f64 {
    let mixed = (step * 7919 + leaf * 104_729 + quantity * 1_299_709) as u64;
    let mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
    mixed as f64 / 64.0
}
