//! Shows the hook's policy what it needs of a step.

use std::collections::HashSet;

use candle_core::TensorId;
use candle_core::backprop::GradStore;

use crate::error::{Error, Result};
use crate::model::{Freezable, Freezer};
use crate::plan::PlanOptimizer;
use crate::policy::{Elapsed, Look, Needs, Policy, Shown};
use crate::train::MetricSink;
use crate::train::hook::LayerFreezing;

/// A step that is being observed, between [`before_update`](LayerFreezing::before_update) and
/// [`after_update`](LayerFreezing::after_update).
#[derive(Debug)]
#[must_use = "the policy sees nothing before `after_update`"]
pub struct Observed {
    look: Option<Look>,
    shown: Shown,
}

impl Observed {
    /// What the policy needs of the step.
    pub fn needs(&self) -> Needs {
        self.look.as_ref().map_or(Needs::NONE, Look::needs)
    }

    /// Whether there is something to show of a step that has updated nothing.
    pub(crate) fn shows_without_update(&self) -> bool {
        let besides =
            [Needs::OUTPUTS, Needs::COSTS].iter().any(|needs| self.needs().contains(*needs));
        besides || self.look.as_ref().is_some_and(Look::has_seen)
    }

    /// Leaves out the variables that an update within the backward did not reach.
    pub(crate) fn keep_reached(&mut self, reached: &HashSet<TensorId>) {
        if let Some(look) = &mut self.look {
            look.keep_reached(reached);
        }
    }

    /// Adds what the policy needs besides: [outputs](Needs::OUTPUTS) or [costs](Needs::COSTS).
    pub fn showing(self, shown: Shown) -> Self {
        Self { shown, ..self }
    }
}

impl<P: Policy, K: MetricSink> LayerFreezing<P, K> {
    /// Looks at a step's gradients before the optimizers use them, if the policy needs anything.
    /// `elapsed` does not count the step. Gradients are those that are passed to the optimizers; an
    /// optimizer of [`optim`](crate::optim) that clips within its step shows them after clipping.
    ///
    /// In a loop of your own, before every step:
    ///
    /// ```
    /// # use candle_core::{DType, Device, Tensor};
    /// # use candle_nn::{Module, Optimizer, VarBuilder, VarMap, linear};
    /// # use freeze_core::{Elapsed, Freezer, LayerFreezing, optim::{ParamsSgd, Sgd}};
    /// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    /// # let mut net = Freezer::new(linear(2, 2, vb)?)?;
    /// # let mut opt = Sgd::with_names(net.planned_vars(), ParamsSgd::default())?;
    /// # let mut hook = LayerFreezing::new(0.5, 1.0)?;
    /// # let x = Tensor::ones((1, 2), DType::F32, &Device::Cpu)?;
    /// for step in 0..4 {
    ///     let loss = net.forward(&x)?.sqr()?.mean_all()?;
    ///     let grads = hook.backward(&net, &loss)?;
    ///     let before = Elapsed::new(0, 1).at_step(step, 4);
    ///     let seen = hook.before_update(&net, &mut [&mut opt], &grads, before)?;
    ///     opt.step(&grads)?;
    ///     let after = before.at_step(step + 1, 4);
    ///     hook.after_update(seen, &mut [&mut opt], loss.to_scalar::<f32>()?.into(), after)?;
    ///     hook.step_end(&mut net, &mut [&mut opt], after)?;
    /// }
    /// # Ok::<(), freeze_core::Error>(())
    /// ```
    ///
    /// A step with a gradient that is infinite or NaN is left out if the policy keeps gradients for
    /// later steps, as if it needed nothing: an optimizer may skip such a step.
    ///
    /// # Errors
    ///
    /// A device failed.
    pub fn before_update<M: Freezable>(
        &mut self,
        freezer: &Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        grads: &GradStore,
        elapsed: Elapsed,
    ) -> Result<Observed> {
        match self.observer.can_keep(self.policy.needs(elapsed), freezer, grads)? {
            true => self.before_checked_update(freezer, optimizers, grads, elapsed),
            false => Ok(Observed { look: None, shown: Shown::default() }),
        }
    }

    /// As [`before_update`](Self::before_update) with gradients that are known to be finite.
    pub(crate) fn before_checked_update<M: Freezable>(
        &mut self,
        freezer: &Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        grads: &GradStore,
        elapsed: Elapsed,
    ) -> Result<Observed> {
        let needs = self.policy.needs(elapsed);
        let look = self.observer.before(needs, freezer, optimizers, grads)?;
        Ok(Observed { look, shown: Shown::default() })
    }

    /// As [`before_update`](Self::before_update) for a step that updates within its backward.
    pub(crate) fn before_backward<M: Freezable>(
        &mut self,
        freezer: &Freezer<M>,
        optimizers: &mut [&mut dyn PlanOptimizer],
        elapsed: Elapsed,
    ) -> Result<Observed> {
        let needs = self.policy.needs(elapsed);
        let look = self.observer.before_in_backward(needs, freezer, optimizers)?;
        Ok(Observed { look, shown: Shown::default() })
    }

    /// Shows the policy what it needs of the step, after its update. `elapsed` counts the step.
    ///
    /// # Errors
    ///
    /// The policy needs outputs that were not [shown](Observed::showing), it refuses what it sees, such
    /// as a number that is NaN, or a device failed. The update has been made then, and the policy has
    /// not changed.
    pub fn after_update(
        &mut self,
        observed: Observed,
        optimizers: &mut [&mut dyn PlanOptimizer],
        loss: f64,
        elapsed: Elapsed,
    ) -> Result<()> {
        let Observed { look: Some(look), shown } = observed else { return Ok(()) };
        if look.needs().contains(Needs::OUTPUTS) && shown.outputs.is_empty() {
            let why = "the policy compares outputs of a probe batch; show them by `showing`";
            return Err(Error::training(why));
        }
        let seen = self.observer.after(look, optimizers, loss, elapsed)?;
        self.policy.observe(&seen.shown(shown))
    }

    /// What the policy needs before the first step.
    pub(crate) fn needs_at_start(&self, elapsed: Elapsed) -> Needs {
        self.policy.needs(elapsed).and(Needs::AT_START)
    }
}
