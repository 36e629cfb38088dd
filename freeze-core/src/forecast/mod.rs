//! Forecasts the cost of a plan from one calibration: the ratio of its step time to that of
//! training everything, and the bytes of gradients, optimizer state and activations.
//!
//! The operations of [`nn`](crate::nn) are timed in three parts: forward, gradient of the input,
//! gradients of the weights. The cost of any plan is a sum of these: the forward of all operations,
//! the input gradients of those that run after the first trained leaf, and the weight gradients and
//! update of trained leaves.

mod calibration;
mod costs;
mod price;
mod render;
mod saved;
mod stages;
#[cfg(test)]
mod tests;

use std::time::Duration;

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::{Freezable, Freezer};
use crate::plan::{FreezePlan, LeafState};
use calibration::Update;
use costs::{Call, Heads, LeafCost};
pub(crate) use price::{Front, Price};
pub use stages::{StageCost, StageCosts, stages};

/// The measured costs of a model's training step, from which plans are forecast. Prints as a table.
///
/// It is saved and read exactly, by serde, so that what was decided by it is decided again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Calibration {
    leaves: Vec<LeafCost>,
    /// In the order of execution.
    calls: Vec<Call>,
    /// Bytes of each variable, with the leaves that hold it.
    vars: Vec<(usize, Vec<usize>)>,
    template: FreezePlan,
    heads: Heads,
    /// The time to update all variables and to free their gradients.
    update: Duration,
    moments: usize,
}

/// The cost of a step under a plan.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Forecast {
    /// The time of a step, as a share of one that trains everything. `None` if the first trained
    /// leaf is one of the [`unknown`](Self::unknown) ones, because it is then unknown how far the
    /// backward goes. It may be too high for a model with branches, as [`calibrate`] says.
    pub step_ratio: Option<f64>,
    /// Floating-point operations of the layers that are recorded. Products count a multiplication
    /// and an addition each, anything else one per element.
    pub flops: u64,
    /// Bytes of the gradients of trained variables.
    pub gradient_bytes: usize,
    /// Bytes of the optimizer's state; see [`Calibration::with_moments`].
    pub state_bytes: usize,
    /// Bytes of the results of recorded operations from the first trained one on. Of these the graph does not hold what
    /// no backward reads, such as what is only added to something; what the first trained operation reads, and masks of
    /// dropout, are not counted.
    pub activation_bytes: usize,
    /// The paths of leaves with variables whose operations are not recorded: layers of candle-nn.
    pub unknown: Vec<String>,
}

/// Measures ten forward passes with everything frozen and sixteen steps that train everything on
/// the batch of `loss`, alternating and without an update. The median time of each part is used. As
/// in [`audit`](fn@crate::audit::audit), the model is not changed. Each backward releases its graph, as a run's does: `loss`
/// computes all that it goes through.
///
/// An operation that runs after the first trained one is counted with its backward, also where it does
/// not depend on what trains: of a model with branches, a forecast may be too high.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use freeze_core::{Freezable, FreezePlan, Freezer, forecast::calibrate, nn::{Linear, linear}};
///
/// #[derive(Freezable)]
/// struct Net {
///     body: Linear,
///     head: Linear,
/// }
///
/// let map = VarMap::new();
/// let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
/// let net = Net { body: linear(8, 8, vb.pp("body"))?, head: linear(8, 2, vb.pp("head"))? };
/// let net = Freezer::new(net)?;
/// let x = Tensor::randn(0f32, 1., (4, 8), &Device::Cpu)?;
/// let costs = calibrate(&net, |net| {
///     net.head.forward(&net.body.forward(&x)?)?.sqr()?.mean_all()
/// })?;
/// let forecast = costs.forecast(&FreezePlan::front_frozen(net.whole(), 1)?)?;
/// assert_eq!(forecast.gradient_bytes, 4 * (8 * 2 + 2));
/// assert_eq!(forecast.state_bytes, 2 * forecast.gradient_bytes);
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// # Errors
///
/// `loss` or its backward failed.
pub fn calibrate<M: Freezable>(
    freezer: &Freezer<M>,
    loss: impl Fn(&M) -> candle_core::Result<Tensor>,
) -> Result<Calibration> {
    calibration::measure(freezer, |model| loss(model), None)
}

/// As [`calibrate`], including the time of `update`, the step of an optimizer that updates all of
/// [`Freezer::vars`], whatever the freezer's plan. Use a separate one, because the rounds change its
/// state. The variables are restored.
///
/// # Errors
///
/// As [`calibrate`], or `update` failed.
pub fn calibrate_with_update<M: Freezable>(
    freezer: &Freezer<M>,
    loss: impl Fn(&M) -> candle_core::Result<Tensor>,
    mut update: impl FnMut(&GradStore) -> candle_core::Result<()>,
) -> Result<Calibration> {
    let plan = freezer.plan().all(LeafState::TRAINED);
    calibration::measure(freezer, |model| loss(model), Some(Update { run: &mut update, plan }))
}

/// As [`calibrate_with_update`] for optimizers that follow the freezer's plan, so that the timed
/// update is of what trains under it.
pub(crate) fn calibrate_with_planned_update<M: Freezable>(
    freezer: &Freezer<M>,
    loss: impl Fn(&M) -> candle_core::Result<Tensor>,
    mut update: impl FnMut(&GradStore) -> candle_core::Result<()>,
) -> Result<Calibration> {
    let plan = freezer.plan().clone();
    calibration::measure(freezer, |model| loss(model), Some(Update { run: &mut update, plan }))
}

impl Calibration {
    /// Sets how many times a parameter's bytes the optimizer keeps for it: by default 2, as for AdamW; 1 for SGD with
    /// momentum, 0 without. For parameters in half precision, whose moments are `f32`, AdamW keeps 4, and 6 with master
    /// weights. A run that calibrates for its policy counts them itself.
    pub fn with_moments(self, moments: usize) -> Self {
        Self { moments, ..self }
    }

    /// The cost of a step under `plan`.
    ///
    /// # Errors
    ///
    /// The plan was made for another model.
    pub fn forecast(&self, plan: &FreezePlan) -> Result<Forecast> {
        plan.check_paths(self.template.paths())?;
        let states = plan.states();
        let share = self.step_time(states).as_secs_f64() / self.full().as_secs_f64();
        let gradient_bytes = costs::trained_bytes(&self.vars, states);
        let unknown = self.leaves.iter().filter(|leaf| !leaf.known);
        Ok(Forecast {
            step_ratio: (self.is_known(states) && share.is_finite()).then_some(share),
            flops: self.flops(states),
            gradient_bytes,
            state_bytes: self.moments.saturating_mul(gradient_bytes),
            activation_bytes: self.activation_bytes(states),
            unknown: unknown.map(|leaf| leaf.path.clone()).collect(),
        })
    }

    /// The time of a step that trains everything.
    pub(crate) fn full(&self) -> Duration {
        self.step_time(self.template.states())
    }

    /// Whether it is known how far the backward goes under `states`.
    pub(crate) fn is_known(&self, states: &[LeafState]) -> bool {
        self.first_trained(states).is_none_or(|leaf| self.leaves[leaf].known)
    }

    fn activation_bytes(&self, states: &[LeafState]) -> usize {
        let first = self.first_call(states).unwrap_or(self.calls.len());
        self.calls.iter().skip(first).map(|call| call.output).sum()
    }

    /// The forward of all operations, which keep no results before the first trained one, and from
    /// there on the time of the gradients.
    fn step_time(&self, states: &[LeafState]) -> Duration {
        let first = self.first_call(states);
        let (frozen, tracked) = self.calls.split_at(first.unwrap_or(self.calls.len()));
        let forward = self.heads.forward
            + frozen.iter().map(|call| call.frozen_forward).sum::<Duration>()
            + tracked.iter().map(|call| call.forward).sum::<Duration>();
        let Some(first) = first else { return forward };
        let backward = |(index, call): (usize, &Call)| match (index > first, call.trains(states)) {
            (true, true) => call.both,
            (true, false) => call.input,
            (false, _) => call.weight,
        };
        let calls = self.calls.iter().enumerate().skip(first);
        let all: usize = self.vars.iter().map(|(bytes, _)| bytes).sum();
        let share = costs::trained_bytes(&self.vars, states) as f64 / all.max(1) as f64;
        forward
            + self.heads.backward
            + calls.map(backward).sum::<Duration>()
            + self.update.mul_f64(share)
    }

    fn flops(&self, states: &[LeafState]) -> u64 {
        let forward: u64 = self.calls.iter().map(|call| call.flops.forward).sum();
        let Some(first) = self.first_call(states) else { return forward };
        let calls = self.calls.iter().enumerate().skip(first);
        let backward = calls.map(|(index, call)| {
            let input = if index > first && call.input_tracked { call.flops.input } else { 0 };
            input + if call.trains(states) { call.flops.weight } else { 0 }
        });
        forward + backward.sum::<u64>()
    }

    /// The first operation, in the order of execution, with a trained weight.
    fn first_call(&self, states: &[LeafState]) -> Option<usize> {
        self.calls.iter().position(|call| call.trains(states))
    }

    /// The first trained leaf with a variable, in the order of declaration.
    fn first_trained(&self, states: &[LeafState]) -> Option<usize> {
        let trains = |leaf: &usize| !states.get(*leaf).is_none_or(|state| state.is_frozen());
        self.vars.iter().flat_map(|(_, leaves)| leaves).copied().filter(trains).min()
    }
}
