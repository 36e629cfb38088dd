//! The one stateful type: it holds a model, its plan, and the view that training uses.

mod look;
mod made;
mod owners;
mod revision;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Deref;

use candle_core::{Tensor, TensorId};
use candle_nn::Module;

use crate::error::{Error, Result, listed};
use crate::model::inventory::Inventory;
use crate::model::{BatchNormPolicy, Freezable, mapped};
use crate::plan::{
    Change, Declared, FreezePlan, LeafState, PlanOptimizer, PlannedVar, Prepared, Released,
    StatePolicy,
};

use made::Made;
pub(crate) use owners::check_owners;
pub(crate) use revision::Revision;

/// A model under a plan. Derefs to the current view, so fields and forward passes are those of the
/// view. [`whole`](Self::whole) is the whole model, and the methods here, such as
/// [`named_tensors`](Self::named_tensors) and [`view`](Self::view), refer to it.
///
/// Model and optimizers change in one call, so they cannot disagree, and an error leaves both
/// unchanged. An empty list means that there is no optimizer yet; an optimizer that was passed once
/// must be passed again with every plan that changes its variables. Build optimizers from
/// [`planned_vars`](Self::planned_vars), so that they know names and the current plan from the
/// start.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{AdamW, Linear, ParamsAdamW, VarBuilder, VarMap, linear};
/// use freeze_core::{Freezable, Freezer, optim::PerParam};
///
/// #[derive(Freezable)]
/// struct Net {
///     body: Vec<Linear>,
///     head: Linear,
/// }
///
/// let map = VarMap::new();
/// let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
/// let body = vec![linear(4, 4, vb.pp("a"))?, linear(4, 4, vb.pp("b"))?];
/// let mut net = Freezer::new(Net { body, head: linear(4, 2, vb.pp("head"))? })?;
/// let mut opt = PerParam::<AdamW>::with_names(net.planned_vars(), ParamsAdamW::default())?;
///
/// let change = net.freeze_front(2, &mut [&mut opt])?;
/// assert_eq!(change.frozen, ["body.0", "body.1"]);
/// assert_eq!(opt.trained_vars(), 2);
/// net.thaw(&mut [&mut opt])?;
/// assert_eq!(opt.trained_vars(), 6);
/// # Ok::<(), freeze_core::Error>(())
/// ```
pub struct Freezer<M> {
    pub(crate) whole: M,
    pub(crate) view: M,
    pub(crate) inventory: Inventory,
    pub(crate) base: FreezePlan,
    pub(crate) plan: FreezePlan,
    pub(crate) batch_norm: BatchNormPolicy,
    /// What becomes of the optimizer state of frozen parameters; `None`: as each optimizer is set.
    pub(crate) frozen_state: Option<StatePolicy>,
    /// Why each leaf is in its state, as the policy last said, by path.
    pub(crate) why: BTreeMap<String, String>,
    /// Changes each time that the view changes.
    pub(crate) revision: Revision,
    /// What code that runs the view often has made of it.
    pub(crate) made: Made,
    /// The variables of all optimizers that were ever passed.
    pub(crate) known: HashSet<TensorId>,
}

impl<M: Freezable> Freezer<M> {
    /// Holds `model` under the plan that its type [declares](FreezePlan::declared), with undeclared
    /// leaves trained; this is the base plan that schedules refine. Leaves whose tensors are not
    /// variables, as after loading, are accepted with a `tracing` warning that names them: they
    /// cannot train before [`into_trainable`](Freezable::into_trainable).
    ///
    /// # Errors
    ///
    /// A layer of the model cannot be rebuilt, or the product of declared shares of the learning
    /// rate is not finite.
    pub fn new(model: M) -> Result<Self> {
        let inventory = Inventory::new(&model)?;
        let plan = inventory.plan(Declared::state)?;
        warn_of(&inventory.immovable(&plan));
        let view =
            mapped::view(&plan, BatchNormPolicy::AsCaller, |mapper| model.map_params(mapper))?;
        let batch_norm = BatchNormPolicy::AsCaller;
        Ok(Self {
            whole: model,
            view,
            inventory,
            base: plan.clone(),
            plan,
            batch_norm,
            frozen_state: None,
            why: BTreeMap::new(),
            revision: Revision::next(),
            made: Made::default(),
            known: HashSet::new(),
        })
    }

    /// Sets what frozen batch norms normalise by from now on.
    ///
    /// # Errors
    ///
    /// A frozen layer does not support the policy; nothing has changed then.
    pub fn set_batch_norm(&mut self, policy: BatchNormPolicy) -> Result<()> {
        if policy != self.batch_norm {
            self.view = mapped::view(&self.plan, policy, |mapper| self.whole.map_params(mapper))?;
            self.batch_norm = policy;
            self.revision = Revision::next();
        }
        Ok(())
    }

    /// Freezes the first `n` leaves except those declared `always`; all others are as declared, or
    /// trained at the full learning rate if nothing is declared. This becomes the base plan that
    /// schedules refine.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), or `n` is larger than the number of leaves.
    pub fn freeze_front(
        &mut self,
        n: usize,
        optimizers: &mut [&mut dyn PlanOptimizer],
    ) -> Result<Change> {
        let mut plan = self.inventory.plan(Declared::state)?;
        plan.freeze_front(n)?;
        self.apply(&plan, optimizers)
    }

    /// Trains every leaf, even those declared `frozen`, at the declared share of the learning rate.
    /// This becomes the base plan that schedules refine.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn thaw(&mut self, optimizers: &mut [&mut dyn PlanOptimizer]) -> Result<Change> {
        let trained = |declared: &Declared| LeafState::Trained { lr_scale: declared.lr_scale() };
        self.apply(&self.inventory.plan(trained)?, optimizers)
    }

    /// Applies a plan made by hand to model and optimizers. It becomes the base plan that schedules
    /// refine. Which leaves are declared `always`, the model says, not the plan.
    ///
    /// # Errors
    ///
    /// The plan belongs to another model or trains a leaf that has no variables; an optimizer
    /// cannot follow it; a trained variable belongs to none of the optimizers, or to two; or an
    /// optimizer that was passed before and owns variables that the plan changes is missing.
    /// Nothing has changed then.
    pub fn apply(
        &mut self,
        plan: &FreezePlan,
        optimizers: &mut [&mut dyn PlanOptimizer],
    ) -> Result<Change> {
        plan.check_paths(&self.inventory.paths)?;
        let plan = &plan.declared_as(&self.base);
        let immovable = self.inventory.immovable(plan);
        if !immovable.is_empty() {
            return Err(Error::NoVariables { names: listed(immovable) });
        }
        let mut planned = self.inventory.planned(plan);
        planned.iter_mut().for_each(|var| var.frozen_state = self.frozen_state);
        let change = self.put(plan, planned, optimizers)?;
        self.base = plan.clone();
        self.why.clear();
        Ok(change)
    }

    /// Applies a schedule's plan to model and optimizers. The base plan does not change, and leaves
    /// declared `always` keep their state in it, whatever `plan` says.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), except that thawing a leaf without variables is only a warning.
    pub fn refine(
        &mut self,
        plan: &FreezePlan,
        optimizers: &mut [&mut dyn PlanOptimizer],
    ) -> Result<Change> {
        self.refine_as(plan, (self.frozen_state, &[]), optimizers)
    }

    /// As [`refine`](Self::refine), with what becomes of the optimizer state of frozen parameters from
    /// now on, and the leaves whose parameters start again from new state.
    pub(crate) fn refine_as(
        &mut self,
        plan: &FreezePlan,
        (frozen_state, restarts): (Option<StatePolicy>, &[usize]),
        optimizers: &mut [&mut dyn PlanOptimizer],
    ) -> Result<Change> {
        plan.check_paths(&self.inventory.paths)?;
        let kept = plan.keeping_always(&self.base);
        let mut planned = self.inventory.planned(&kept);
        planned.iter_mut().for_each(|var| var.frozen_state = frozen_state);
        self.inventory.restart(&mut planned, restarts);
        let change = self.put(&kept, planned, optimizers)?;
        self.frozen_state = frozen_state;
        Ok(change)
    }

    /// What a plan that is already applied changes.
    pub(crate) fn no_change(&self) -> Change {
        let planned = self.inventory.planned(&self.plan);
        let at = (&self.plan, &planned[..]);
        let none = [Released { state_bytes: Some(0) }];
        Change::new(at, at, self.inventory.ties(&self.plan), &none)
    }

    fn put(
        &mut self,
        plan: &FreezePlan,
        planned: Vec<PlannedVar>,
        optimizers: &mut [&mut dyn PlanOptimizer],
    ) -> Result<Change> {
        let before = self.inventory.planned(&self.plan);
        let owned = check_owners(&planned, optimizers)?;
        owners::check_known(&self.known, &owned, &before, &planned)?;
        // A plan that freezes the same leaves keeps the view, and with it whatever a `&mut self`
        // forward stores there.
        let view = match plan.freezes_as(&self.plan) {
            true => None,
            false => {
                Some(mapped::view(plan, self.batch_norm, |mapper| self.whole.map_params(mapper))?)
            }
        };
        let prepared = optimizers.iter_mut().map(|optimizer| optimizer.prepare_plan(&planned));
        let prepared = prepared.collect::<Result<Vec<_>>>()?;
        // From here on nothing can fail.
        let released: Vec<_> = prepared.into_iter().map(Prepared::commit).collect();
        self.known.extend(owned);
        let ties = self.inventory.ties(plan);
        let change = Change::new((&self.plan, &before), (plan, &planned), ties, &released);
        if let Some(view) = view {
            let stuck = self.inventory.immovable(&self.plan);
            let stuck: HashSet<&str> = stuck.into_iter().collect();
            let immovable = self.inventory.immovable(plan);
            warn_of(
                &immovable.into_iter().filter(|path| !stuck.contains(path)).collect::<Vec<_>>(),
            );
            self.view = view;
            self.revision = Revision::next();
        }
        self.plan.clone_from(plan);
        change.trace();
        Ok(change)
    }
}

fn warn_of(immovable: &[&str]) {
    if !immovable.is_empty() {
        tracing::warn!(
            leaves = listed(immovable),
            "leaves have no variables, so nothing in them can train; call `into_trainable()`"
        );
    }
}

impl<M> Deref for Freezer<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.view
    }
}

/// This also gives candle's `ModuleT`. A model that implements only `ModuleT` is called through the
/// deref, `net.forward_t(xs, train)`; where a `&impl ModuleT` is wanted, pass `&*net`.
impl<M: Module> Module for Freezer<M> {
    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        self.view.forward(xs)
    }
}

impl<M: fmt::Debug> fmt::Debug for Freezer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Freezer")
            .field("view", &self.view)
            .field("plan", &self.plan)
            .field("batch_norm", &self.batch_norm)
            .finish_non_exhaustive()
    }
}
