//! Queries of the freezer. They refer to the whole model, not to the view behind the deref.

use candle_core::{Tensor, Var};

use crate::error::Result;
use crate::model::{BatchNormPolicy, Freezable, Freezer, Leaf, Summary, View, mapped};
use crate::plan::{Declared, FreezePlan, LeafState, PlannedVar};

impl<M: Freezable> Freezer<M> {
    /// The whole model, for checkpoints, summaries and evaluation without a plan. It shares storage
    /// and running statistics with the view.
    pub fn whole(&self) -> &M {
        &self.whole
    }

    /// A view of the whole model under `plan`; the current plan and the optimizers do not change.
    ///
    /// # Errors
    ///
    /// The plan was made for another model, or a frozen layer does not support
    /// [`batch_norm`](Self::batch_norm).
    pub fn view(&self, plan: &FreezePlan) -> Result<View<M>> {
        self.view_by(plan, self.batch_norm)
    }

    /// A view of the whole model in which the first `n` leaves are frozen, except those declared
    /// `always`, and all others are as declared. It ignores the current plan and does not change
    /// it; [`freeze_front`](Self::freeze_front) does.
    ///
    /// # Errors
    ///
    /// `n` is larger than the number of leaves, or as [`view`](Self::view).
    pub fn freeze_upto(&self, n: usize) -> Result<View<M>> {
        let mut plan = self.inventory.plan(Declared::state)?;
        self.view(plan.freeze_front(n)?)
    }

    /// The whole model with every leaf frozen, for evaluation, as a teacher, or as the
    /// discriminator while the generator trains. It records no graph for its parameters and they
    /// get no gradient, but a gradient for its input passes through. Plan, optimizers and optimizer
    /// state do not change, whereas freezing through a plan would free that state.
    ///
    /// Batch norms and dropouts follow the caller: `forward_t(x, false)` normalises by the running
    /// statistics and drops nothing, `forward_t(x, true)` updates the statistics, which are shared
    /// with the model.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_nn::{Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear};
    /// use freeze_core::{Freezer, optim::AdamW};
    ///
    /// let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    /// let generator = Freezer::new(linear(2, 4, vb.pp("g"))?)?;
    /// let critic = Freezer::new(linear(4, 1, vb.pp("d"))?)?;
    /// let mut of_generator = AdamW::with_names(generator.planned_vars(), ParamsAdamW::default())?;
    /// let mut of_critic = AdamW::with_names(critic.planned_vars(), ParamsAdamW::default())?;
    /// let noise = Tensor::randn(0f32, 1., (8, 2), &Device::Cpu)?;
    ///
    /// // The generator's turn: through the critic, which does not change.
    /// let loss = critic.frozen_view()?.forward(&generator.forward(&noise)?)?.mean_all()?;
    /// of_generator.step(&loss.backward()?)?;
    /// // The critic's turn: the generator makes data, and records nothing.
    /// let fake = generator.frozen_view()?.forward(&noise)?;
    /// assert!(!fake.track_op());
    /// of_critic.step(&critic.forward(&fake)?.mean_all()?.backward()?)?;
    /// # Ok::<(), freeze_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A layer of the model cannot be rebuilt.
    pub fn frozen_view(&self) -> Result<View<M>> {
        let plan = self.plan.all(LeafState::Frozen);
        self.view_by(&plan, BatchNormPolicy::AsCaller)
    }

    /// As [`frozen_view`](Self::frozen_view), but freezes the leaves that `pattern` matches and
    /// those that the plan freezes; everything else, frozen batch norms included, is as under the
    /// plan.
    ///
    /// # Errors
    ///
    /// As [`FreezePlan::freeze`], or a frozen layer does not support
    /// [`batch_norm`](Self::batch_norm).
    pub fn frozen_view_of(&self, pattern: &str) -> Result<View<M>> {
        let mut plan = self.plan.clone();
        plan.freeze(pattern)?;
        self.view(&plan)
    }

    /// The view, for models whose forward takes `&mut self`. Whatever such a forward stores in the
    /// view itself is lost with the next plan that freezes other leaves; hold what must be kept in
    /// an `Arc`.
    pub fn view_mut(&mut self) -> &mut M {
        &mut self.view
    }

    /// Returns the whole model.
    pub fn into_whole(self) -> M {
        self.whole
    }

    /// The current plan.
    pub fn plan(&self) -> &FreezePlan {
        &self.plan
    }

    /// The base plan, made by hand, which schedules refine.
    pub fn base(&self) -> &FreezePlan {
        &self.base
    }

    /// Why the leaf at `path` is in its state, as a policy last said; `None` if no policy changed it.
    pub fn why(&self, path: &str) -> Option<&str> {
        self.why.get(path).map(String::as_str)
    }

    /// What frozen batch norms normalise by.
    pub fn batch_norm(&self) -> BatchNormPolicy {
        self.batch_norm
    }

    /// Every variable of the whole model once, frozen or not, in the order of the leaves.
    pub fn vars(&self) -> Vec<Var> {
        self.inventory.vars().map(|(_, var)| var.clone()).collect()
    }

    /// As [`vars`](Self::vars), each with its full name; a tied one has the first of its names.
    pub fn named_vars(&self) -> Vec<(String, Var)> {
        self.inventory.vars().map(|(name, var)| (name.to_string(), var.clone())).collect()
    }

    /// The variables that train under the plan, in the order of the leaves.
    pub fn trained_vars(&self) -> Vec<Var> {
        let trained = |var: &PlannedVar| !var.state.is_frozen();
        let planned = self.inventory.planned(&self.plan);
        planned.into_iter().filter(trained).map(|var| var.var).collect()
    }

    /// Every variable with its name, its leaf and its state under the plan. Build optimizers from
    /// this, by [`Fused::with_names`](crate::optim::Fused::with_names) or
    /// [`PerParam::with_names`](crate::optim::PerParam::with_names).
    pub fn planned_vars(&self) -> Vec<PlannedVar> {
        self.inventory.planned(&self.plan)
    }

    /// Every tensor of the whole model, as [`Freezable::named_tensors`].
    ///
    /// # Errors
    ///
    /// A layer of the model cannot be rebuilt.
    pub fn named_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        self.whole.named_tensors()
    }

    /// The leaves of the whole model.
    ///
    /// # Errors
    ///
    /// A layer of the model cannot be rebuilt.
    pub fn leaves(&self) -> Result<Vec<Leaf>> {
        self.whole.leaves()
    }

    /// The number of leaves in front of the leaf or group at `path`, as [`Freezable::leaf_before`].
    ///
    /// # Errors
    ///
    /// There is nothing at `path`; similar names are listed.
    pub fn leaf_before(&self, path: &str) -> Result<usize> {
        self.whole.leaf_before(path)
    }

    /// A printable table of the whole model's leaves under the plan.
    ///
    /// # Errors
    ///
    /// A layer of the model cannot be rebuilt.
    pub fn summary(&self) -> Result<Summary> {
        Ok(Summary::new(self.leaves()?, self.plan.states()).because(&self.why))
    }

    fn view_by(&self, plan: &FreezePlan, policy: BatchNormPolicy) -> Result<View<M>> {
        Ok(View::new(mapped::view(plan, policy, |mapper| self.whole.map_params(mapper))?))
    }
}
