//! The contract between a plan and the optimizers that follow it.

use std::collections::BTreeMap;

use candle_core::{Tensor, TensorId};

use super::{GradClip, Measured, Measures, PlannedVar, Prepared};
use crate::error::{Error, Result};

/// What an optimizer freed when a plan was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Bytes of optimizer state freed; `None` if the optimizer cannot tell.
    pub state_bytes: Option<usize>,
}

/// An optimizer that follows a plan.
///
/// [`optim::AdamW`](crate::optim::AdamW), `Adam`, `Sgd` and candle's `SGD` implement it;
/// [`PerParam`](crate::optim::PerParam) implements it for any other candle optimizer.
///
/// It identifies variables by their tensor id and remembers every one it was built with, so that a
/// frozen variable can be thawed. A plan is applied in two phases: first all optimizers prepare the
/// change, which may fail and changes nothing; then the [`Freezer`](crate::Freezer) commits what
/// they prepared, which cannot fail, or drops it if one of them failed.
///
/// ```
/// use std::collections::HashSet;
///
/// use candle_core::{TensorId, Var, backprop::GradStore};
/// use freeze_core::{PlanOptimizer, PlannedVar, Prepared, Released, Result};
///
/// /// Descent by the sign of the gradient.
/// struct SignSgd {
///     vars: Vec<Var>,
///     frozen: HashSet<TensorId>,
/// }
///
/// impl SignSgd {
///     fn step(&mut self, grads: &GradStore) -> Result<()> {
///         for var in self.vars.iter().filter(|var| !self.frozen.contains(&var.id())) {
///             let Some(grad) = grads.get(var) else { continue };
///             var.set(&var.sub(&(grad.sign()? * 0.01)?)?)?;
///         }
///         Ok(())
///     }
/// }
///
/// impl PlanOptimizer for SignSgd {
///     fn owned(&mut self) -> Vec<TensorId> {
///         self.vars.iter().map(|var| var.id()).collect()
///     }
///
///     fn prepare_plan(&mut self, vars: &[PlannedVar]) -> Result<Prepared<'_, Released>> {
///         let frozen = vars.iter().filter(|var| var.state.is_frozen());
///         let frozen = frozen.map(|var| var.var.id()).collect();
///         Ok(Prepared::new(move || {
///             self.frozen = frozen;
///             Released { state_bytes: Some(0) }
///         }))
///     }
///
///     fn kind(&self) -> &'static str {
///         "SignSgd"
///     }
/// }
/// # use candle_core::{DType, Device};
/// # use candle_nn::{Module, VarBuilder, VarMap, linear};
/// # use freeze_core::Freezer;
/// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
/// # let mut net = Freezer::new(vec![linear(2, 2, vb.pp("a"))?, linear(2, 2, vb.pp("b"))?])?;
/// # let mut opt = SignSgd { vars: net.vars(), frozen: HashSet::new() };
/// # net.freeze_front(1, &mut [&mut opt])?;
/// # assert_eq!(opt.frozen.len(), 2);
/// # let xs = candle_core::Tensor::ones((1, 2), DType::F32, &Device::Cpu)?;
/// # let before = net.vars().iter().map(|var| var.flatten_all()?.to_vec1::<f32>()).collect::<Vec<_>>();
/// # opt.step(&net.whole()[1].forward(&net.whole()[0].forward(&xs)?)?.sum_all()?.backward()?)?;
/// # for (i, (var, before)) in net.vars().iter().zip(before).enumerate() {
/// #     assert_eq!(var.flatten_all()?.to_vec1::<f32>()? == before?, i < 2);
/// # }
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot follow a freeze plan",
    label = "no optimizer that follows plans",
    note = "in place of candle's `AdamW`: `freeze_core::optim::AdamW`, which has the same configuration",
    note = "any `candle_nn::Optimizer`: `freeze_core::optim::PerParam::<O>::with_names(net.planned_vars(), config)`"
)]
pub trait PlanOptimizer {
    /// Every variable the optimizer was built with, frozen or not.
    ///
    /// `&mut`, because candle's `SGD` gives access to its variables only by taking it apart.
    fn owned(&mut self) -> Vec<TensorId>;

    /// Prepares the change that the plan asks for, without affecting the next step. `vars` are all
    /// variables of the model; those that the optimizer does not own are to be ignored.
    ///
    /// # Errors
    ///
    /// The optimizer cannot do what the plan asks, or new state cannot be allocated.
    fn prepare_plan(&mut self, vars: &[PlannedVar]) -> Result<Prepared<'_, Released>>;

    /// Asks the optimizer to clip within its step from now on, without a copy of the gradients.
    /// Returns whether it can; if not, the caller passes gradients that are already clipped.
    ///
    /// # Errors
    ///
    /// The bound is not a finite number above 0.
    fn clip_within_step(&mut self, _clip: GradClip) -> Result<bool> {
        Ok(false)
    }

    /// Asks the optimizer to measure within each step from now on, in place of what it was asked for
    /// before. Returns whether it can, as all can measure nothing; if not, the caller measures from
    /// outside, and nothing is measured here. What was measured and not yet taken stays.
    fn measure_within_step(&mut self, measures: Measures) -> bool {
        measures.is_empty()
    }

    /// What was measured since the last call, each variable once, by its last update. A variable that
    /// was not updated, because it is frozen, had no gradient or the step was skipped, is not there.
    fn take_measured(&mut self) -> Vec<(TensorId, Measured)> {
        Vec::new()
    }

    /// Whether steps by the gradients of some variables each do what one step by all of them does: what a
    /// step keeps and computes is of each variable alone. [`Training`](crate::Training) asks where it is to
    /// [`update_in_backward`](crate::Training::update_in_backward).
    fn steps_in_parts(&self) -> bool {
        false
    }

    /// Whether no gradient that a step gets, nor a view of one, is kept after the step.
    /// [`Training`](crate::Training) then reuses the memory of gradients from step to step.
    fn keeps_no_gradient(&self) -> bool {
        false
    }

    /// The bytes of state that it holds now, on all devices; `None` if it cannot tell.
    fn state_bytes(&self) -> Option<usize> {
        None
    }

    /// The optimizer's type name, for messages and saved state.
    fn kind(&self) -> &'static str;

    /// All state needed to resume exactly, by full names.
    ///
    /// # Errors
    ///
    /// The optimizer hides its state, was never given names, or two variables have the same name.
    fn save_state(&mut self) -> Result<OptimizerState> {
        Err(Error::HiddenState { optimizer: self.kind() })
    }

    /// As [`save_state`](Self::save_state), with names from `vars` for variables that the optimizer
    /// has no name for. The names are used for this call only; the optimizer does not keep them.
    ///
    /// # Errors
    ///
    /// As [`save_state`](Self::save_state).
    fn save_state_as(&mut self, vars: &[PlannedVar]) -> Result<OptimizerState> {
        let _ = vars;
        self.save_state()
    }

    /// Checks a saved state against this optimizer and prepares to load it, together with its
    /// learning rate and the plan of `vars`, without affecting the next step. Names from `vars` are
    /// used as in [`save_state_as`](Self::save_state_as); if `vars` is empty the plan does not
    /// change.
    ///
    /// # Errors
    ///
    /// Unknown or missing names or wrong shapes, all listed; another type of optimizer; or as
    /// [`prepare_plan`](Self::prepare_plan).
    fn prepare_state(
        &mut self,
        state: &OptimizerState,
        vars: &[PlannedVar],
    ) -> Result<Prepared<'_, ()>> {
        let _ = (state, vars);
        Err(Error::HiddenState { optimizer: self.kind() })
    }
}

/// An optimizer's state by full names: plain data that a checkpoint holds.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// The optimizer's type name.
    pub kind: String,
    /// The learning rate at the time of saving.
    pub learning_rate: f64,
    /// Moments and the like: `first_moment/blocks.0.weight`.
    pub tensors: BTreeMap<String, Tensor>,
    /// The number of updates each parameter has had.
    pub steps: BTreeMap<String, u64>,
}
