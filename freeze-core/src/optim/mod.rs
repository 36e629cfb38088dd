//! Optimizers that know plans: they forget what is frozen and take up again what thaws.

mod accumulate;
mod adam;
mod candle_sgd;
mod clip;
mod fused;
mod groups;
pub(crate) mod kernel;
pub mod lr;
mod no_gradient;
mod per_param;
mod plan;
mod policy;
mod rule;
mod sgd;
mod slot;
mod state;
mod step;

use std::collections::BTreeMap;

use candle_core::{Tensor, TensorId, Var};

use crate::{Error, LeafState, Result};

pub use accumulate::GradAccumulator;
pub use adam::{Adam, AdamW, ParamsAdam};
pub use clip::{clip_grad_norm, clip_grad_value, grad_norm};
pub use fused::Fused;
pub use groups::ParamGroups;
pub use per_param::PerParam;
pub use policy::{GradClip, NonFinite, StatePolicy};
pub use rule::UpdateRule;
pub use sgd::{Momentum, ParamsSgd, Sgd};

/// A variable as a plan has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlannedVar {
    /// The full name; of a tied variable, the first of its names.
    pub name: String,
    /// The type name of the leaf that holds it first.
    pub kind: &'static str,
    /// The variable itself.
    pub var: Var,
    /// Frozen, or trained at a share of the learning rate. A tied variable is frozen when every
    /// leaf that holds it is.
    pub state: LeafState,
}

/// What an optimizer let go when a plan was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Bytes of optimizer state given back; `None` if the optimizer cannot tell.
    pub state_bytes: Option<usize>,
}

/// An optimizer that follows a plan.
///
/// It knows variables by identity and remembers every one it was built with, so that thawing brings
/// a variable back. A plan reaches it in two calls: all optimizers prepare, which may fail and
/// changes nothing they do; only then do all commit, which cannot fail. The
/// [`Freezer`](crate::Freezer) makes both calls.
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

    /// The optimizer's type name, for messages and saved state.
    fn kind(&self) -> &'static str;

    /// Everything needed to go on exactly here, by full names.
    ///
    /// # Errors
    ///
    /// The optimizer hides its state, or was never given names by a [`Freezer`](crate::Freezer).
    fn save_state(&mut self) -> Result<OptimizerState> {
        Err(Error::HiddenState { optimizer: self.kind() })
    }

    /// Checks a saved state against this optimizer and makes it ready, without changing what the
    /// next step does; [`commit_state`](Self::commit_state) takes it up.
    ///
    /// # Errors
    ///
    /// Unknown, missing or misshaped names, all listed; another type of optimizer.
    fn prepare_state(&mut self, _state: &OptimizerState) -> Result<()> {
        Err(Error::HiddenState { optimizer: self.kind() })
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
