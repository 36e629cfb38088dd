//! The optimizer behind [`AdamW`](super::AdamW), [`Adam`](super::Adam) and [`Sgd`](super::Sgd).

use std::collections::{HashMap, HashSet, hash_map::Entry};

use candle_core::{TensorId, Var, backprop::GradStore};

use super::clip::check_clip;
use super::groups::{Named, ParamGroups};
use super::rule::UpdateRule;
use super::slot::Slot;
use super::{MasterWeights, NonFinite};
use crate::error::{Error, Result};
use crate::kernel::real_dtype;
use crate::kernel::reduce::Norm;
use crate::plan::{GradClip, Measures, PlannedVar, StatePolicy};

/// An optimizer that updates each parameter in one pass over memory and follows plans.
///
/// State is allocated by a parameter's first update, so building one costs nothing. It remembers
/// every variable, frozen or not; one given twice counts once. Parameters in half precision have
/// [`MasterWeights`], updated within the same pass on the CPU and on CUDA, and by candle's
/// operations on other devices.
#[derive(Debug)]
pub struct Fused<R: UpdateRule> {
    pub(super) rule: R,
    pub(super) slots: Vec<Slot>,
    pub(super) index: HashMap<TensorId, usize>,
    pub(super) groups: ParamGroups,
    pub(super) state_policy: StatePolicy,
    pub(super) masters: MasterWeights,
    pub(super) non_finite: NonFinite,
    pub(super) clip: GradClip,
    pub(super) measures: Measures,
    pub(super) grad_norm: Option<Norm>,
    pub(super) skipped: u64,
}

impl<R: UpdateRule> Fused<R> {
    /// Builds an optimizer of a [`Freezer`](crate::Freezer)'s
    /// [`planned_vars`](crate::Freezer::planned_vars), or of pairs of a name and a variable.
    ///
    /// It starts under the plan of the freezer: frozen variables are remembered but not updated,
    /// and the plan's shares of the learning rate apply from the first step. Names, which
    /// [`ParamGroups`] and saved state need, are known from the start, and plans do not change
    /// them.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_nn::{Linear, ParamsAdamW};
    /// use freeze_core::{Freezable, Freezer, optim::AdamW};
    ///
    /// let weight = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
    /// let mut net = Freezer::new(vec![Linear::new(weight, None)].into_trainable()?)?;
    /// net.freeze_front(1, &mut [])?;
    /// let opt = AdamW::with_names(net.planned_vars(), ParamsAdamW::default())?;
    /// assert!(opt.trained_vars().is_empty() && opt.vars().len() == 1);
    /// # Ok::<(), freeze_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The configuration is out of range, two variables have the same name, or a variable's type is
    /// none of `f16`, `bf16`, `f32`, `f64`.
    pub fn with_names<V: Into<PlannedVar>>(
        vars: impl IntoIterator<Item = V>,
        config: R,
    ) -> Result<Self> {
        Self::build(vars.into_iter().map(|var| Slot::planned(var.into())), config)
    }

    fn build(slots: impl Iterator<Item = Slot>, rule: R) -> Result<Self> {
        rule.check()?;
        let mut optimizer = Self {
            rule,
            slots: Vec::new(),
            index: HashMap::new(),
            groups: ParamGroups::new(),
            state_policy: StatePolicy::default(),
            masters: MasterWeights::default(),
            non_finite: NonFinite::default(),
            clip: GradClip::default(),
            measures: Measures::NONE,
            grad_norm: None,
            skipped: 0,
        };
        let (mut names, mut storages) = (HashSet::new(), HashSet::new());
        for mut slot in slots.filter(|slot| slot.var.dtype().is_float()) {
            let place = optimizer.slots.len();
            let fault = |why: String| {
                Err(Error::Optimizer { optimizer: R::KIND, name: slot.label(place), why })
            };
            if real_dtype(slot.var.dtype()).is_none() {
                return fault(format!("{:?} is not a type to train in", slot.var.dtype()));
            }
            let Entry::Vacant(entry) = optimizer.index.entry(slot.var.id()) else { continue };
            if slot.name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
                return fault("the name occurs twice; give each variable its own".into());
            }
            entry.insert(place);
            slot.shares_storage = !storages.insert(slot.storage);
            optimizer.slots.push(slot);
        }
        Ok(optimizer)
    }

    /// The configuration.
    pub fn params(&self) -> &R {
        &self.rule
    }

    /// Replaces the configuration. The state is kept, or freed if the new configuration needs none,
    /// such as [`Sgd`] without momentum. Numbers out of range are an error of the next step.
    ///
    /// [`Sgd`]: super::Sgd
    pub fn set_params(&mut self, params: R) {
        self.rule = params;
        self.let_go_of_all_rows();
    }

    /// Sets the parameter groups. They take effect at once if names are known, otherwise with the
    /// first plan; until then a step is an error.
    ///
    /// # Errors
    ///
    /// A pattern cannot be read or matches none of the known names; similar names are listed, and
    /// the groups do not change.
    pub fn set_groups(&mut self, groups: ParamGroups) -> Result<()> {
        if self.slots.iter().all(|slot| slot.name.is_some()) {
            let named: Vec<_> = self.slots.iter().filter_map(Named::of).collect();
            let shares = groups.shares(&named)?;
            self.slots.iter_mut().zip(shares).for_each(|(slot, share)| slot.share = share);
        }
        self.groups = groups;
        Ok(())
    }

    /// Sets what happens to the state of parameters that a plan freezes. For those that are already
    /// frozen it applies with the next plan.
    pub fn set_state_policy(&mut self, policy: StatePolicy) {
        self.state_policy = policy;
    }

    /// Sets whether parameters in half precision have master weights. Those no longer wanted are
    /// freed by the next step.
    pub fn set_master_weights(&mut self, masters: MasterWeights) {
        self.masters = masters;
        self.let_go_of_all_rows();
    }

    /// Frees the state of every parameter that needs none under the current settings.
    fn let_go_of_all_rows(&mut self) {
        let moments = self.rule.moments().len();
        for slot in &mut self.slots {
            if slot.rows(moments, self.masters).count() == 0 {
                slot.state = None;
            }
        }
    }

    /// Sets what a step does with infinite and NaN gradients.
    pub fn set_non_finite(&mut self, policy: NonFinite) {
        self.non_finite = policy;
    }

    /// Sets how gradients are clipped within the step, without a copy. The norm is that of the
    /// trained parameters of this optimizer.
    ///
    /// # Errors
    ///
    /// The bound is not positive or not finite.
    pub fn set_clip(&mut self, clip: GradClip) -> Result<()> {
        check_clip(clip)?;
        self.clip = clip;
        Ok(())
    }

    /// The norm of all gradients of the last step before clipping, if it was clipped by norm.
    pub fn grad_norm(&self) -> Option<f64> {
        self.grad_norm.map(Norm::value)
    }

    /// How many steps were skipped under [`NonFinite::SkipStep`].
    pub fn skipped_steps(&self) -> u64 {
        self.skipped
    }

    /// Every variable the optimizer knows, in the order it was built with.
    pub fn vars(&self) -> Vec<Var> {
        self.slots.iter().map(|slot| slot.var.clone()).collect()
    }

    /// The variables that train.
    pub fn trained_vars(&self) -> Vec<Var> {
        let trained = self.slots.iter().filter(|slot| !slot.planned.is_frozen());
        trained.map(|slot| slot.var.clone()).collect()
    }

    /// How many updates a variable has had since its state began; `None` if it is not known here.
    pub fn updates(&self, var: &Var) -> Option<u64> {
        self.index.get(&var.id()).and_then(|&i| self.slots.get(i)).map(|slot| slot.steps)
    }

    /// The bytes of state held, on all devices.
    pub fn state_bytes(&self) -> usize {
        self.slots.iter().map(Slot::state_bytes).sum()
    }
}

impl<R: UpdateRule> candle_nn::Optimizer for Fused<R> {
    type Config = R;

    /// Builds an optimizer of the variables, all of them trained and without names; those that hold
    /// no floats are left out, as in candle. It does not know the current plan until the next one
    /// is applied; [`with_names`](Fused::with_names) does.
    fn new(vars: Vec<Var>, config: R) -> candle_core::Result<Self> {
        Ok(Self::build(vars.into_iter().map(Slot::new), config)?)
    }

    /// Updates every trained variable that has a gradient; the others are not changed, not even by
    /// weight decay. If any gradient is refused, nothing is updated.
    fn step(&mut self, grads: &GradStore) -> candle_core::Result<()> {
        Ok(self.apply(grads)?)
    }

    fn learning_rate(&self) -> f64 {
        self.rule.lr()
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.rule.set_lr(lr);
    }
}
