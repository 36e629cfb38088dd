//! Any candle optimizer, with one instance per variable, so that each can be dropped alone.

mod plan;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use candle_core::Var;
use candle_core::backprop::GradStore;
use candle_nn::Optimizer;

use super::no_gradient::reached_nothing;
use super::rule::{check_for, check_lr};
use crate::error::{Error, Result};
use crate::plan::{LeafState, PlannedVar};

/// One candle optimizer `O` for each variable: freezing drops it with its state, unless a policy asks
/// to keep that; thawing makes a new one.
///
/// It is itself a [`candle_nn::Optimizer`]. Each instance counts its own steps, so a variable that
/// thaws late gets the bias correction of a first step, and one without a gradient is skipped.
/// candle's optimizers compute in the type of their variables: small updates of `f16` and `bf16`
/// are rounded away, which the [`MasterWeights`](super::MasterWeights) of the optimizers here
/// prevent.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear};
/// use freeze_core::{Freezable, optim::PerParam};
///
/// let map = VarMap::new();
/// let net = linear(3, 2, VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu))?;
/// let vars = net.named_vars()?;
/// let mut opt = PerParam::<AdamW>::with_names(vars, ParamsAdamW::default())?;
/// let x = Tensor::ones((4, 3), DType::F32, &Device::Cpu)?;
/// opt.backward_step(&candle_nn::Module::forward(&net, &x)?.sqr()?.mean_all()?)?;
/// # Ok::<(), freeze_core::Error>(())
/// ```
pub struct PerParam<O: Optimizer> {
    config: O::Config,
    learning_rate: f64,
    slots: Vec<Slot<O>>,
}

struct Slot<O> {
    var: Var,
    /// The full name, once known; it does not change then.
    name: Option<Arc<str>>,
    lr_scale: f64,
    /// `None` while frozen.
    optimizer: Option<O>,
    /// The optimizer of a frozen variable, if a policy asks to keep its state.
    resting: Option<O>,
}

impl<O: Optimizer> PerParam<O>
where
    O::Config: Clone,
{
    /// Builds an optimizer of a [`Freezer`](crate::Freezer)'s
    /// [`planned_vars`](crate::Freezer::planned_vars), or of pairs of a name and a variable, which
    /// starts under the plan of the freezer: as [`Fused::with_names`](super::Fused::with_names).
    ///
    /// # Errors
    ///
    /// Two variables have the same name; one is declared `no_decay`, which of candle's optimizers
    /// only `SGD` can follow; or `O` refuses the configuration or a variable.
    pub fn with_names<V: Into<PlannedVar>>(
        vars: impl IntoIterator<Item = V>,
        config: O::Config,
    ) -> Result<Self>
    where
        O: 'static,
    {
        let named: Vec<PlannedVar> = vars.into_iter().map(Into::into).collect();
        named.iter().try_for_each(plan::check_decay::<O>)?;
        Self::build(named.into_iter().map(|var| (Some(var.name), var.var, var.state)), config)
    }

    fn build(
        vars: impl Iterator<Item = (Option<Arc<str>>, Var, LeafState)>,
        config: O::Config,
    ) -> Result<Self> {
        let learning_rate = O::empty(config.clone())?.learning_rate();
        let optimizer = std::any::type_name::<Self>();
        let (mut known, mut names) = (HashSet::new(), HashSet::new());
        let mut slots = Vec::new();
        for (name, var, state) in vars.filter(|(_, var, _)| var.dtype().is_float()) {
            if !known.insert(var.id()) {
                continue;
            }
            if let Some(name) = name.as_ref().filter(|&name| !names.insert(name.clone())) {
                let why = "the name occurs twice; give each variable its own".to_string();
                return Err(Error::Optimizer { optimizer, name: name.to_string(), why });
            }
            let mut slot = Slot { var, name, lr_scale: 1.0, optimizer: None, resting: None };
            if let LeafState::Trained { lr_scale } = state {
                let mut optimizer = O::new(vec![slot.var.clone()], config.clone())?;
                if lr_scale != 1.0 {
                    optimizer.set_learning_rate(learning_rate * lr_scale);
                }
                (slot.lr_scale, slot.optimizer) = (lr_scale, Some(optimizer));
            }
            slots.push(slot);
        }
        Ok(Self { config, learning_rate, slots })
    }
}

impl<O: Optimizer> PerParam<O> {
    /// The number of variables that train under the current plan.
    pub fn trained_vars(&self) -> usize {
        self.slots.iter().filter(|slot| slot.optimizer.is_some()).count()
    }

    /// Checks the learning rates, because candle's optimizers accept any number.
    fn check_rates(&self) -> Result<()> {
        check_lr(self.learning_rate)?;
        for (i, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.optimizer.is_some())
        {
            let rate = self.learning_rate * slot.lr_scale;
            check_for(slot.var.dtype(), "learning rate", rate).map_err(|why| {
                let known = slot.name.as_deref().map(str::to_string);
                let name = known.unwrap_or_else(|| format!("variable {i}"));
                Error::Optimizer { optimizer: std::any::type_name::<Self>(), name, why }
            })?;
        }
        Ok(())
    }
}

impl<O: Optimizer> fmt::Debug for PerParam<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerParam")
            .field("optimizer", &std::any::type_name::<O>())
            .field("learning_rate", &self.learning_rate)
            .field("vars", &self.slots.len())
            .field("trained_vars", &self.trained_vars())
            .finish_non_exhaustive()
    }
}

impl<O: Optimizer> Optimizer for PerParam<O>
where
    O::Config: Clone,
{
    type Config = O::Config;

    fn new(vars: Vec<Var>, config: Self::Config) -> candle_core::Result<Self> {
        let trained = |var| (None, var, LeafState::TRAINED);
        Ok(Self::build(vars.into_iter().map(trained), config)?)
    }

    /// # Errors
    ///
    /// The learning rate is negative or not finite, none of the trained variables has a gradient,
    /// or candle failed.
    fn step(&mut self, grads: &GradStore) -> candle_core::Result<()> {
        self.check_rates()?;
        let trained = self.trained_vars();
        let mut reached = 0;
        for slot in &mut self.slots {
            if let (Some(optimizer), Some(_)) = (&mut slot.optimizer, grads.get(&slot.var)) {
                optimizer.step(grads)?;
                reached += 1;
            }
        }
        if reached == 0 {
            reached_nothing(self.slots.len(), trained)?;
        }
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// An invalid learning rate is an error of the next step.
    fn set_learning_rate(&mut self, lr: f64) {
        self.learning_rate = lr;
        for slot in &mut self.slots {
            if let Some(optimizer) = &mut slot.optimizer {
                optimizer.set_learning_rate(lr * slot.lr_scale);
            }
        }
    }
}
