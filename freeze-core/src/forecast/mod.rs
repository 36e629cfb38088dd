//! What a plan will cost, from one calibration: the ratio of its step time to that of training
//! everything, and the bytes of gradients, optimizer state and activations.
//!
//! The operations of [`nn`](crate::nn) are timed in parts, forward, gradient of the input, gradients of
//! the weights, so that any plan can be put together from them: the forward of all, the input
//! gradients of what runs after the first trained leaf, the weight gradients and the update of what
//! trains. Operations run in one order, so what runs later counts as above.

mod calibration;
mod costs;
mod render;
#[cfg(test)]
mod tests;

use std::time::Duration;

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use crate::error::Result;
use crate::model::{Freezable, Freezer};
use crate::plan::{FreezePlan, LeafState};
use costs::{Call, Heads, LeafCost};

/// The measured costs of a model's training step, from which plans are forecast. Prints as a table.
#[derive(Clone, Debug)]
pub struct Calibration {
    leaves: Vec<LeafCost>,
    /// In the order of execution.
    calls: Vec<Call>,
    /// Bytes of each variable, with the leaves that hold it.
    vars: Vec<(usize, Vec<usize>)>,
    template: FreezePlan,
    heads: Heads,
    /// The update of all variables, and giving back their gradients.
    update: Duration,
    moments: usize,
}

/// What a step under a plan costs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Forecast {
    /// The time of a step, as a share of one that trains everything. `None` if the first trained leaf
    /// is among the [`unknown`](Self::unknown) ones: how far down the backward goes is then unknown.
    pub step_ratio: Option<f64>,
    /// Floating-point operations of the operations that report: products count as a multiplication
    /// and an addition, anything else as one for each element.
    pub flops: u64,
    /// Bytes of the gradients of trained variables.
    pub gradient_bytes: usize,
    /// Bytes of the optimizer's state; see [`Calibration::with_moments`].
    pub state_bytes: usize,
    /// Bytes of the results that stay alive for the backward, of the operations that report.
    pub activation_bytes: usize,
    /// The paths of leaves with variables whose operations do not report: layers of candle-nn.
    pub unknown: Vec<String>,
}

/// Measures ten forward passes with everything frozen and sixteen steps of training everything on the
/// batch of `loss`, in turns and without an update; the median time of each part counts. Nothing is moved, as in [`audit`](fn@crate::audit::audit).
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

/// As [`calibrate`], with the time of `update`, which is an optimizer's step: give it an optimizer of
/// its own over [`Freezer::vars`], since the rounds leave their traces in the optimizer's state. The
/// variables are put back.
///
/// # Errors
///
/// As [`calibrate`], or `update` failed.
pub fn calibrate_with_update<M: Freezable>(
    freezer: &Freezer<M>,
    loss: impl Fn(&M) -> candle_core::Result<Tensor>,
    mut update: impl FnMut(&GradStore) -> candle_core::Result<()>,
) -> Result<Calibration> {
    calibration::measure(freezer, |model| loss(model), Some(&mut update))
}

impl Calibration {
    /// The number of tensors of a parameter's size that the optimizer keeps for it: 2, as of AdamW,
    /// if nothing is said; 1 for SGD with momentum, 0 without.
    pub fn with_moments(self, moments: usize) -> Self {
        Self { moments, ..self }
    }

    /// What a step under `plan` costs.
    ///
    /// # Errors
    ///
    /// The plan was made for another model.
    pub fn forecast(&self, plan: &FreezePlan) -> Result<Forecast> {
        plan.check_paths(self.template.paths())?;
        let states = plan.states();
        let full = self.step_time(self.template.states());
        let known = match self.first_trained(states) {
            Some(leaf) => self.leaves[leaf].known,
            None => true,
        };
        let share = self.step_time(states).as_secs_f64() / full.as_secs_f64();
        let gradient_bytes = costs::trained_bytes(&self.vars, states);
        let first = self.first_call(states);
        let alive = self.calls.iter().skip(first.unwrap_or(self.calls.len()));
        let unknown = self.leaves.iter().filter(|leaf| !leaf.known);
        Ok(Forecast {
            step_ratio: (known && share.is_finite()).then_some(share),
            flops: self.flops(states),
            gradient_bytes,
            state_bytes: self.moments.saturating_mul(gradient_bytes),
            activation_bytes: alive.map(|call| call.output).sum(),
            unknown: unknown.map(|leaf| leaf.path.clone()).collect(),
        })
    }

    /// The forward of all, of which nothing is kept before the first trained operation, and from there
    /// on what its gradients take.
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
