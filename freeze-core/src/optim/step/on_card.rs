//! A step of parameters that are all on one CUDA card: everything is launched before the host waits for any of it.

use candle_core::DType;

use super::Due;
use crate::error::Result;
use crate::kernel::StorageId;
use crate::kernel::update::cuda::{self, First, Item, Outcome};
use crate::kernel::update::{ElementRule, GradMap};
use crate::optim::MasterWeights;
use crate::optim::measured::{measured, tally};
use crate::optim::rule::{Update, sealed::Rule};
use crate::optim::slot::Slot;
use crate::plan::{GradClip, Measures};

/// Whether the updates can be made in this way: all on one card, no storage twice.
pub(super) fn fit(due: &[Due<'_>]) -> bool {
    let Some(card) = due.first().map(|due| due.slot.var.device()) else { return false };
    let fits = |slot: &Slot| slot.var.device().same_device(card) && !slot.shares_storage;
    card.is_cuda() && due.iter().all(|due| fits(due.slot))
}

/// How the updates change gradients, and what they ask of them before; `None` where the host has to see them first:
/// the norm of gradients in `f64` needs a second look where squares overflow.
pub(super) fn first(due: &[Due<'_>], clip: GradClip) -> Option<(GradMap, First)> {
    let wide = || due.iter().any(|due| due.grad.dtype() == DType::F64);
    match clip {
        GradClip::None => Some((GradMap::Identity, First::Look)),
        GradClip::Value(bound) => Some((GradMap::Clamp(bound), First::Look)),
        GradClip::Norm(_) if wide() => None,
        GradClip::Norm(bound) => Some((GradMap::Identity, First::Norm(bound))),
    }
}

/// Updates all of them, unless a gradient is infinite or NaN.
pub(super) fn apply<R: Rule>(
    rule: &R,
    (masters, first, measures): (MasterWeights, (GradMap, First), Measures),
    due: &mut [Due<'_>],
) -> Result<Outcome> {
    let moments = rule.moments().len();
    let mut fresh = Vec::with_capacity(due.len());
    for due in &mut *due {
        fresh.push(due.slot.state.is_none());
        due.slot.ensure_state(due.slot.rows(moments, masters))?;
        if StorageId::of(&due.grad) == due.slot.storage {
            due.grad = due.grad.copy()?;
        }
    }
    let outcome = update(rule, first, !measures.is_empty(), due)?;
    if !outcome.finite {
        // Nothing was updated, so there is no state either that was not there before.
        let slots = due.iter_mut().zip(fresh).filter(|(_, fresh)| *fresh);
        slots.for_each(|(due, _)| due.slot.state = None);
        return Ok(outcome);
    }
    for (place, due) in due.iter_mut().enumerate() {
        due.slot.steps += 1;
        if let (Some(mut tally), Some(sums)) = (tally(measures), outcome.sums.get(place)) {
            tally.set(sums);
            due.slot.measured = Some(measured(&tally, due.grad.elem_count()));
        }
    }
    Ok(outcome)
}

fn update<R: Rule>(
    rule: &R,
    (map, first): (GradMap, First),
    measured: bool,
    due: &[Due<'_>],
) -> Result<Outcome> {
    let mut items: Vec<Item<'_>> = Vec::with_capacity(due.len());
    let mut updates: Vec<Update> = Vec::new();
    for Due { slot, grad, update, .. } in due {
        // Mostly that of the one before.
        let known = updates.iter().rposition(|known| known == update);
        let set = known.unwrap_or(updates.len());
        if known.is_none() {
            updates.push(*update);
        }
        items.push(Item { var: &slot.var, grad, state: slot.state.as_ref(), set: set as u32 });
    }
    let sets: Vec<_> = updates.iter().map(|update| rule.kernel(*update).arguments()).collect();
    Ok(cuda::update_all(&items, &sets, map, first, measured)?)
}
