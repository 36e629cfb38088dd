//! What an optimizer is asked when a plan is applied, saved or resumed.

use std::collections::BTreeMap;

use candle_core::{Tensor, TensorId};

use super::{GradClip, PlannedVar};
use crate::error::{Error, Result};

/// What an optimizer let go when a plan was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Bytes of optimizer state given back; `None` if the optimizer cannot tell.
    pub state_bytes: Option<usize>,
}

/// An optimizer that follows a plan.
///
/// [`optim::AdamW`](crate::optim::AdamW), `Adam`, `Sgd` and candle's `SGD` are; any other candle
/// optimizer becomes one in [`PerParam`](crate::optim::PerParam).
///
/// It knows variables by identity and remembers every one it was built with, so that thawing brings
/// a variable back. A plan reaches it in two calls: all optimizers prepare, which may fail and
/// changes nothing they do; only then do all commit, which cannot fail, or after a refusal all
/// discard. The [`Freezer`](crate::Freezer) makes these calls.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot follow a freeze plan",
    label = "no optimizer that follows plans",
    note = "in place of candle's `AdamW`: `freeze_core::optim::AdamW`, which has the same configuration",
    note = "any `candle_nn::Optimizer`: `freeze_core::optim::PerParam::<O>::with_names(net.planned_vars(), config)`"
)]
pub trait PlanOptimizer {
    /// Every variable the optimizer was built with, frozen or not.
    ///
    /// `&mut`, since candle's `SGD` shows its variables only to whoever takes it apart.
    fn owned(&mut self) -> Vec<TensorId>;

    /// Makes ready whatever the plan asks for, without changing what the next step does. `vars` is
    /// every variable of the model; those the optimizer does not own are not its concern. A second
    /// call replaces what the first made ready.
    ///
    /// # Errors
    ///
    /// The optimizer cannot do what the plan asks, or new state cannot be allocated.
    fn prepare_plan(&mut self, vars: &[PlannedVar]) -> Result<()>;

    /// Takes up what was prepared; does nothing if nothing was.
    fn commit_plan(&mut self) -> Released;

    /// Lets go of what was prepared, plan or state, and not taken up: called on every optimizer
    /// when one of them, or the model, refuses. Cannot fail.
    fn discard_prepared(&mut self) {}

    /// Clips within the step from now on, at no copy, if the optimizer can; whether it does. Those
    /// that cannot are handed gradients that are clipped already.
    ///
    /// # Errors
    ///
    /// The bound is not a finite number above 0.
    fn clip_within_step(&mut self, _clip: GradClip) -> Result<bool> {
        Ok(false)
    }

    /// The optimizer's type name, for messages and saved state.
    fn kind(&self) -> &'static str;

    /// Everything needed to go on exactly here, by full names.
    ///
    /// # Errors
    ///
    /// The optimizer hides its state, was never given names, or two variables have one.
    fn save_state(&mut self) -> Result<OptimizerState> {
        Err(Error::HiddenState { optimizer: self.kind() })
    }

    /// As [`save_state`](Self::save_state), where variables that the optimizer has no names for go
    /// by those of `vars`, which are lent for this call: what the optimizer knows and does stays.
    ///
    /// # Errors
    ///
    /// As [`save_state`](Self::save_state).
    fn save_state_as(&mut self, vars: &[PlannedVar]) -> Result<OptimizerState> {
        let _ = vars;
        self.save_state()
    }

    /// Checks a saved state against this optimizer and makes it ready, without changing what the
    /// next step does; [`commit_state`](Self::commit_state) takes it up.
    ///
    /// # Errors
    ///
    /// Unknown, missing or misshaped names, all listed; another type of optimizer.
    fn prepare_state(&mut self, state: &OptimizerState) -> Result<()> {
        let _ = state;
        Err(Error::HiddenState { optimizer: self.kind() })
    }

    /// As [`prepare_state`](Self::prepare_state), with names lent as in
    /// [`save_state_as`](Self::save_state_as).
    ///
    /// # Errors
    ///
    /// As [`prepare_state`](Self::prepare_state).
    fn prepare_state_as(&mut self, state: &OptimizerState, vars: &[PlannedVar]) -> Result<()> {
        let _ = vars;
        self.prepare_state(state)
    }

    /// Takes up what [`prepare_state`](Self::prepare_state) made ready; cannot fail.
    fn commit_state(&mut self) {}

    /// Called after [`commit_state`](Self::commit_state) with the saved learning rate, for an
    /// optimizer that has no place to keep what it made ready; cannot fail.
    fn commit_rate(&mut self, _learning_rate: f64) {}
}

/// An optimizer's state by full names: plain data that a checkpoint holds.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// The optimizer's type name.
    pub kind: String,
    /// The learning rate at which it stood.
    pub learning_rate: f64,
    /// Moments and the like: `first_moment/blocks.0.weight`.
    pub tensors: BTreeMap<String, Tensor>,
    /// The number of updates each parameter has had.
    pub steps: BTreeMap<String, u64>,
}
