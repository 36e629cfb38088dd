//! A step of parameters that are all on one CUDA card: everything is launched before the host waits for any of it.

use candle_core::DType;

use super::Due;
use crate::error::Result;
use crate::kernel::update::cuda::{self, First, Item, Outcome};
use crate::kernel::update::{ElementRule, GradMap, apart};
use crate::optim::MasterWeights;
use crate::optim::measured::{measured, tally};
use crate::optim::rule::sealed::Rule;
use crate::plan::{GradClip, Measures};

/// Whether the step can be made in this way. The norm of gradients in `f64` needs a second look where squares
/// overflow.
pub(super) fn fit(due: &[Due<'_>], clip: GradClip) -> bool {
    let wide = || due.iter().any(|due| due.grad.dtype() == DType::F64);
    cuda::fit(due.iter().map(|due| &due.slot.var)) && !(matches!(clip, GradClip::Norm(_)) && wide())
}

/// Updates all of them, unless a gradient is infinite or NaN.
pub(super) fn apply<R: Rule>(
    rule: &R,
    (masters, clip, measures): (MasterWeights, GradClip, Measures),
    due: &mut [Due<'_>],
) -> Result<Outcome> {
    let moments = rule.moments().len();
    let mut fresh = Vec::with_capacity(due.len());
    for due in &mut *due {
        fresh.push(due.slot.state.is_none());
        due.slot.ensure_state(due.slot.rows(moments, masters))?;
        due.grad = apart(due.grad.clone(), &due.slot.var)?;
    }
    let outcome = update(rule, clip, !measures.is_empty(), due)?;
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

fn update<R: Rule>(rule: &R, clip: GradClip, measured: bool, due: &[Due<'_>]) -> Result<Outcome> {
    let (map, first) = match clip {
        GradClip::None => (GradMap::Identity, First::Look),
        GradClip::Value(bound) => (GradMap::Clamp(bound), First::Look),
        GradClip::Norm(bound) => (GradMap::Identity, First::Norm(bound)),
    };
    let mut items: Vec<Item<'_, _>> = Vec::with_capacity(due.len());
    let mut last = None;
    for due in due {
        let Due { slot, grad, update, .. } = due;
        // Mostly those of all.
        let numbers = match (last, items.last()) {
            (Some(last), Some(item)) if last == *update => item.numbers,
            _ => rule.kernel(*update).arguments(),
        };
        last = Some(*update);
        items.push(Item { var: &slot.var, grad, state: slot.state.as_ref(), numbers });
    }
    Ok(cuda::update_all(&items, map, first, measured)?)
}
