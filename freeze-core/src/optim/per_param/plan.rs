//! How [`PerParam`] follows a plan.

use std::any::TypeId;
use std::sync::Arc;

use candle_core::TensorId;
use candle_nn::{AdamW, Optimizer, SGD};

use super::{PerParam, Slot};
use crate::error::{Error, Result};
use crate::kernel::bytes_of;
use crate::plan::{LeafState, PlanOptimizer, PlannedVar, Prepared, Released, StatePolicy, by_id};

/// The prepared change of one variable.
struct Stage<O> {
    name: Arc<str>,
    state: LeafState,
    /// A new optimizer, if the variable thaws and none rests, or starts again.
    fresh: Option<O>,
    /// Whether the optimizer of a frozen variable is kept.
    rests: bool,
}

impl<O: Optimizer + 'static> PlanOptimizer for PerParam<O>
where
    O::Config: Clone,
{
    fn owned(&mut self) -> Vec<TensorId> {
        self.slots.iter().map(|slot| slot.var.id()).collect()
    }

    fn prepare_plan(&mut self, vars: &[PlannedVar]) -> Result<Prepared<'_, Released>> {
        let planned = by_id(vars);
        let stage = |slot: &Slot<O>| {
            let Some(planned) = planned.get(&slot.var.id()) else { return Ok(None) };
            check_decay::<O>(planned)?;
            let known = slot.optimizer.is_some() || slot.resting.is_some();
            let fresh = match planned.state {
                LeafState::Trained { .. } if !known || planned.restarts => {
                    Some(O::new(vec![slot.var.clone()], self.config.clone())?)
                }
                _ => None,
            };
            let kept =
                matches!(planned.frozen_state, Some(StatePolicy::Keep | StatePolicy::Offload));
            let (name, rests) = (planned.name.clone(), kept && !planned.restarts);
            Ok(Some(Stage { name, state: planned.state, fresh, rests }))
        };
        let stages = self.slots.iter().map(stage).collect::<Result<Vec<_>>>()?;
        Ok(Prepared::new(move || self.take_up(stages)))
    }

    fn steps_in_parts(&self) -> bool {
        true
    }

    fn state_bytes(&self) -> Option<usize> {
        let per_byte = state_bytes_per_byte::<O>()?;
        let held = |slot: &&Slot<O>| slot.optimizer.is_some() || slot.resting.is_some();
        let bytes: usize = self.slots.iter().filter(held).map(|slot| bytes_of(&slot.var)).sum();
        Some(per_byte * bytes)
    }

    fn kind(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

impl<O: Optimizer + 'static> PerParam<O> {
    fn take_up(&mut self, stages: Vec<Option<Stage<O>>>) -> Released {
        let per_byte = state_bytes_per_byte::<O>();
        let mut released = 0;
        for (slot, stage) in self.slots.iter_mut().zip(stages) {
            let Some(Stage { name, state, fresh, rests }) = stage else { continue };
            slot.name.get_or_insert(name);
            let LeafState::Trained { lr_scale } = state else {
                let known = slot.optimizer.take().or(slot.resting.take());
                match known {
                    Some(known) if rests => slot.resting = Some(known),
                    Some(_) => released += bytes_of(&slot.var),
                    None => {}
                }
                continue;
            };
            slot.lr_scale = lr_scale;
            slot.optimizer = fresh.or(slot.optimizer.take()).or(slot.resting.take());
            slot.resting = None;
            if let Some(optimizer) = &mut slot.optimizer {
                optimizer.set_learning_rate(self.learning_rate * lr_scale);
            }
        }
        Released { state_bytes: per_byte.map(|n| n * released) }
    }
}

/// How many bytes of state an optimizer keeps for each byte of a variable; `None` if unknown.
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

/// An error if `no_decay` is declared and cannot be followed: candle's optimizers apply one weight
/// decay to all their variables, and only `SGD` has none.
pub(super) fn check_decay<O: Optimizer + 'static>(planned: &PlannedVar) -> Result<()> {
    if !planned.no_decay || TypeId::of::<O>() == TypeId::of::<SGD>() {
        return Ok(());
    }
    let why = "it is declared `no_decay`, and candle's optimizers let all variables decay alike; \
               use `freeze_core::optim::AdamW`";
    let (optimizer, name) = (std::any::type_name::<PerParam<O>>(), planned.name.to_string());
    Err(Error::Optimizer { optimizer, name, why: why.into() })
}
