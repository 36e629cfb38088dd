//! What a run shows its policy: steps, outputs of a probe batch, measured costs.

use std::collections::HashSet;
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use super::driven::{Driven, as_plan};
use super::shows::Loss;
use super::training::Training;
use crate::error::{Error, Result};
use crate::forecast::{Calibration, calibrate, calibrate_with_planned_update};
use crate::kernel::bytes_of;
use crate::model::Freezable;
use crate::plan::{OptimizerState, PlannedVar, Prepared};
use crate::policy::{Elapsed, Needs, Output, Shown};
use crate::train::hook::Observed;

impl<M: Freezable> Training<M> {
    /// Sets how the outputs of stages on a fixed probe batch are computed, for policies that compare
    /// them, such as plasticity. The model is passed with everything frozen. Each look is a forward of the batch,
    /// whose size and samples must stay the same; some hundred samples tell more than a few. A model with stages
    /// has its outputs by [`Output::of_stages`]: `.probe(move |net| Output::of_stages(net, &batch, &context))`.
    ///
    /// ```
    /// # use candle_core::{DType, Device, Module, Tensor};
    /// # use candle_nn::{Linear, VarBuilder, VarMap, linear};
    /// use freeze_core::policy::Output;
    /// # use freeze_core::{Freezable, Training};
    /// # #[derive(Freezable)]
    /// # struct Net { body: Vec<Linear>, head: Linear }
    /// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    /// # let net = Net { body: vec![linear(4, 4, vb.pp("a"))?], head: linear(4, 2, vb.pp("b"))? };
    /// # let batch = Tensor::ones((8, 4), DType::F32, &Device::Cpu)?;
    ///
    /// let run = Training::new(net)?.probe(move |net| {
    ///     let mut outputs = Vec::new();
    ///     let mut xs = batch.clone();
    ///     for (layer, leaves) in net.body.iter().zip(1..) {
    ///         xs = layer.forward(&xs)?;
    ///         outputs.push(Output { leaves, tensor: xs.clone() }); // what the first `leaves` leaves make of it
    ///     }
    ///     Ok(outputs)
    /// });
    /// # Ok::<(), freeze_core::Error>(())
    /// ```
    pub fn probe(
        mut self,
        outputs: impl Fn(&M) -> candle_core::Result<Vec<Output>> + Send + 'static,
    ) -> Self {
        self.shows.probe = Some(Box::new(outputs));
        self
    }

    /// Sets how the loss of a typical batch is computed, for policies that go by measured costs, such
    /// as a budget. Before the first step the run [calibrates](mod@crate::forecast) with it, updates
    /// included; neither weights nor optimizer state change.
    pub fn costs_of(
        mut self,
        loss: impl Fn(&M) -> candle_core::Result<Tensor> + Send + 'static,
    ) -> Self {
        self.shows.loss = Some(Box::new(loss));
        self
    }

    /// Before the first epoch under a policy, or behind the first step if it was given within one: asks it, if it is
    /// due then.
    pub(super) fn begin_policy(&mut self) -> Result<()> {
        let elapsed = self.clock.elapsed();
        if self.clock.asked {
            return Ok(());
        }
        let Some(needs) = self.policy.as_ref().map(|policy| policy.needs_at_start(elapsed)) else {
            return Ok(());
        };
        let shown = self.show(needs)?;
        let Some(policy) = &mut self.policy else { return Ok(()) };
        let mut optimizers = as_plan(&mut self.optimizers);
        let began = policy.begin_shown(&mut self.freezer, &mut optimizers, elapsed, shown);
        self.planned();
        if let Some(frozen) = began? {
            self.record_frozen(&frozen, elapsed);
        }
        self.clock.asked = true;
        Ok(())
    }

    /// Looks at the gradients of a step before its update.
    pub(super) fn before_update(&mut self, grads: &GradStore) -> Result<Option<Observed>> {
        let elapsed = self.clock.elapsed();
        let Some(policy) = self.policy.as_mut().filter(|_| self.clock.asked) else {
            return Ok(None);
        };
        let mut optimizers = as_plan(&mut self.optimizers);
        let observed =
            policy.before_checked_update(&self.freezer, &mut optimizers, grads, elapsed)?;
        match observed.needs().is_empty() || !self.shards_state() {
            true => Ok(Some(observed)),
            false => Err(Error::training(
                "the policy needs what is measured in updates, of which each rank makes a share; leave out \
                 `shard_optimizer_state`, or take a policy of time",
            )),
        }
    }

    /// As [`before_update`](Self::before_update) for a step that updates within its backward.
    pub(super) fn before_backward(&mut self) -> Result<Option<Observed>> {
        let elapsed = self.clock.elapsed();
        let Some(policy) = self.policy.as_mut().filter(|_| self.clock.asked) else {
            return Ok(None);
        };
        let mut optimizers = as_plan(&mut self.optimizers);
        policy.before_backward(&self.freezer, &mut optimizers, elapsed).map(Some)
    }

    /// Shows the policy a step that has been counted.
    pub(super) fn after_update(&mut self, observed: Option<Observed>, loss: f64) -> Result<()> {
        let Some(observed) = observed.filter(|observed| !observed.needs().is_empty()) else {
            return Ok(());
        };
        let shown = self.show(observed.needs().and(Needs::OUTPUTS))?;
        let elapsed: Elapsed = self.clock.elapsed();
        let Some(policy) = &mut self.policy else { return Ok(()) };
        let mut optimizers = as_plan(&mut self.optimizers);
        policy.after_update(observed.showing(shown), &mut optimizers, loss, elapsed)
    }

    fn show(&mut self, needs: Needs) -> Result<Shown> {
        let mut shown = Shown::default();
        if needs.contains(Needs::OUTPUTS) {
            let Some(probe) = &self.shows.probe else {
                let why =
                    "the policy compares outputs of a probe batch; give the run one by `probe`";
                return Err(Error::training(why));
            };
            shown.outputs = self.evaluate(probe)?;
        }
        if needs.contains(Needs::COSTS)
            && let Some(loss) = self.shows.loss.take()
        {
            let costs = self.measure(&loss);
            self.shows.loss = Some(loss);
            shown.costs = Some(Arc::new(costs?));
        }
        Ok(shown)
    }

    /// Calibrates; with updates, if the state of all optimizers can be saved and restored.
    fn measure(&mut self, loss: &Loss<M>) -> Result<Calibration> {
        let vars = self.freezer.planned_vars();
        let saved = self.optimizers.iter_mut().map(|driven| driven.save_state_as(&vars));
        let Ok(saved) = saved.collect::<Result<Vec<_>>>() else {
            return calibrate(&self.freezer, |model| loss(model));
        };
        let (optimizers, trained) = (&mut self.optimizers, &self.trained);
        let update = |grads: &GradStore| {
            let reached = trained.iter().map(|(_, var)| var).filter(|var| grads.get(var).is_some());
            let reached: Vec<Var> = reached.cloned().collect();
            let update = |driven: &mut Driven| driven.update_reached(&reached, grads).map(drop);
            optimizers.iter_mut().try_for_each(update).map_err(Into::into)
        };
        let costs = calibrate_with_planned_update(&self.freezer, |model| loss(model), update);
        let moved = self.optimizers.iter_mut().map(|driven| driven.save_state_as(&vars));
        let moments = moved.collect::<Result<Vec<_>>>().map(|moved| moments(&moved, &vars));
        let pairs = self.optimizers.iter_mut().zip(&saved);
        let restored = pairs.map(|(driven, saved)| driven.prepare_state(saved, &vars));
        restored.collect::<Result<Vec<_>>>()?.into_iter().for_each(Prepared::commit);
        Ok(costs?.with_moments(moments?))
    }
}

/// How many times the bytes of the variables that were updated their states take, rounded up: 2 for AdamW, 6 where it
/// keeps moments and masters in `f32` for variables in `bf16`, 0 for SGD without momentum.
fn moments(states: &[OptimizerState], vars: &[PlannedVar]) -> usize {
    let updated =
        states.iter().flat_map(|state| state.steps.iter().filter(|(_, steps)| **steps > 0));
    let updated: HashSet<&str> = updated.map(|(name, _)| name.as_str()).collect();
    let var_bytes: usize =
        vars.iter().filter(|var| updated.contains(&*var.name)).map(|var| bytes_of(&var.var)).sum();
    let state_bytes: usize =
        states.iter().flat_map(|state| state.tensors.values()).map(bytes_of).sum();
    state_bytes.div_ceil(var_bytes.max(1))
}
