//! Any candle optimizer, one instance a variable, so that each can be dropped alone.

use std::any::TypeId;
use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{TensorId, Var};
use candle_nn::{AdamW, Optimizer, SGD};

use super::no_gradient::reached_nothing;
use super::{PlanOptimizer, PlannedVar, Released};
use crate::{LeafState, Result};

/// One candle optimizer `O` for each variable: freezing drops it with its state, thawing makes a
/// fresh one, whose first update is an ordinary first update.
///
/// It is a [`candle_nn::Optimizer`] itself. Each instance counts its own steps, so a variable that
/// joins late gets the bias correction of a first step, and one without a gradient is left out.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear};
/// use freeze_core::{Freezable, optim::PerParam};
///
/// let map = VarMap::new();
/// let net = linear(3, 2, VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu))?;
/// let mut opt = PerParam::<AdamW>::new(net.vars()?, ParamsAdamW::default())?;
/// let x = Tensor::ones((4, 3), DType::F32, &Device::Cpu)?;
/// opt.backward_step(&candle_nn::Module::forward(&net, &x)?.sqr()?.mean_all()?)?;
/// # Ok::<(), freeze_core::Error>(())
/// ```
pub struct PerParam<O: Optimizer> {
    config: O::Config,
    learning_rate: f64,
    slots: Vec<Slot<O>>,
    staged: Vec<Stage<O>>,
}

struct Slot<O> {
    var: Var,
    lr_scale: f64,
    /// `None` while frozen.
    optimizer: Option<O>,
}

/// What the plan makes of a slot.
enum Stage<O> {
    Leave,
    Drop,
    Train { lr_scale: f64, fresh: Option<O> },
}

impl<O: Optimizer> PerParam<O> {
    /// The number of variables that train under the current plan.
    pub fn trained_vars(&self) -> usize {
        self.slots.iter().filter(|slot| slot.optimizer.is_some()).count()
    }
}

impl<O: Optimizer> Optimizer for PerParam<O>
where
    O::Config: Clone,
{
    type Config = O::Config;

    fn new(vars: Vec<Var>, config: Self::Config) -> candle_core::Result<Self> {
        let learning_rate = O::empty(config.clone())?.learning_rate();
        let slot = |var: Var| {
            let optimizer = Some(O::new(vec![var.clone()], config.clone())?);
            Ok(Slot { var, lr_scale: 1.0, optimizer })
        };
        let float = vars.into_iter().filter(|var| var.dtype().is_float());
        let slots = float.map(slot).collect::<candle_core::Result<_>>()?;
        Ok(Self { config, learning_rate, slots, staged: Vec::new() })
    }

    /// # Errors
    ///
    /// Not one of the trained variables has a gradient, or candle failed.
    fn step(&mut self, grads: &GradStore) -> candle_core::Result<()> {
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

    fn set_learning_rate(&mut self, lr: f64) {
        self.learning_rate = lr;
        for slot in &mut self.slots {
            if let Some(optimizer) = &mut slot.optimizer {
                optimizer.set_learning_rate(lr * slot.lr_scale);
            }
        }
    }
}

impl<O: Optimizer + 'static> PlanOptimizer for PerParam<O>
where
    O::Config: Clone,
{
    fn owned(&mut self) -> Vec<TensorId> {
        self.slots.iter().map(|slot| slot.var.id()).collect()
    }

    fn prepare_plan(&mut self, vars: &[PlannedVar]) -> Result<()> {
        let states: HashMap<TensorId, LeafState> =
            vars.iter().map(|var| (var.var.id(), var.state)).collect();
        let stage = |slot: &Slot<O>| match states.get(&slot.var.id()) {
            None => Ok(Stage::Leave),
            Some(LeafState::Frozen) => Ok(Stage::Drop),
            Some(&LeafState::Trained { lr_scale }) => {
                let fresh = match slot.optimizer {
                    Some(_) => None,
                    None => Some(O::new(vec![slot.var.clone()], self.config.clone())?),
                };
                Ok(Stage::Train { lr_scale, fresh })
            }
        };
        self.staged = self.slots.iter().map(stage).collect::<Result<_>>()?;
        Ok(())
    }

    fn commit_plan(&mut self) -> Released {
        let per_byte = state_bytes_per_byte::<O>();
        let mut released = 0;
        for (slot, stage) in self.slots.iter_mut().zip(self.staged.drain(..)) {
            match stage {
                Stage::Leave => {}
                Stage::Drop => {
                    if slot.optimizer.take().is_some() {
                        released += slot.var.elem_count() * slot.var.dtype().size_in_bytes();
                    }
                }
                Stage::Train { lr_scale, fresh } => {
                    slot.lr_scale = lr_scale;
                    slot.optimizer = fresh.or(slot.optimizer.take());
                    if let Some(optimizer) = &mut slot.optimizer {
                        optimizer.set_learning_rate(self.learning_rate * lr_scale);
                    }
                }
            }
        }
        Released { state_bytes: per_byte.map(|n| n * released) }
    }

    fn kind(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

/// How many bytes of state an optimizer keeps for each byte of a variable, where that is known.
fn state_bytes_per_byte<O: 'static>() -> Option<usize> {
    let id = TypeId::of::<O>();
    if id == TypeId::of::<AdamW>() {
        Some(2) // two moments in the variable's own dtype
    } else if id == TypeId::of::<SGD>() {
        Some(0)
    } else {
        None
    }
}
