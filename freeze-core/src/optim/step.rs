//! One step: check every gradient, then update.

#[cfg(feature = "cuda")]
mod on_card;

use candle_core::{Tensor, backprop::GradStore};

use super::look::{Look, unfit};
use super::measured::{measured, tally};
use super::no_gradient::reached_nothing;
use super::rule::{Update, UpdateRule, check_for, sealed::Rule};
use super::slot::Slot;
use super::{Fused, NonFinite};
use crate::error::{Error, Result};
use crate::kernel::pieces::STREAM;
#[cfg(feature = "cuda")]
use crate::kernel::reduce::Norm;
use crate::kernel::threads;
#[cfg(feature = "cuda")]
use crate::kernel::update::cuda::First;
use crate::kernel::update::{GradMap, update};
use crate::plan::Measures;

/// A trained parameter and its gradient.
struct Due<'a> {
    /// The slot's index in the optimizer.
    index: usize,
    slot: &'a mut Slot,
    grad: Tensor,
    update: Update,
}

impl<R: UpdateRule> Fused<R> {
    pub(super) fn apply(&mut self, grads: &GradStore) -> Result<()> {
        self.rule.check()?;
        if !self.groups.is_empty() && self.slots.iter().any(|slot| slot.name.is_none()) {
            return Err(Error::Unnamed { optimizer: R::KIND });
        }
        let trained = self.slots.iter().filter(|slot| !slot.planned.is_frozen()).count();
        let mut due = due(&self.rule, &mut self.slots, grads)?;
        if due.is_empty() {
            return reached_nothing(self.slots.len(), trained);
        }
        #[cfg(feature = "cuda")]
        let together = on_card::fit(&due);
        #[cfg(feature = "cuda")]
        if let Some(first) = on_card::first(&due, self.clip).filter(|_| together) {
            let wishes = (self.masters, first, self.measures);
            let outcome = on_card::apply(&self.rule, wishes, &mut due)?;
            self.grad_norm = outcome.norm.map(Norm::of);
            return match outcome.finite {
                true => Ok(()),
                false => refuse(self.non_finite, &mut self.skipped, &due),
            };
        }
        let look = Look::at(&due.iter().map(|due| &due.grad).collect::<Vec<_>>(), self.clip)?;
        self.grad_norm = look.norm;
        if !look.fit {
            return refuse(self.non_finite, &mut self.skipped, &due);
        }
        #[cfg(feature = "cuda")]
        if together {
            let first = (look.map(self.clip), First::Nothing);
            return on_card::apply(&self.rule, (self.masters, first, self.measures), &mut due)
                .map(drop);
        }
        let moments = self.rule.moments().len();
        let masters = self.masters;
        due.iter_mut()
            .try_for_each(|due| due.slot.ensure_state(due.slot.rows(moments, masters)))?;
        update_all(&self.rule, look.map(self.clip), self.measures, due)
    }
}

/// Skips the step or fails, because a gradient is infinite or NaN.
fn refuse(policy: NonFinite, skipped: &mut u64, due: &[Due<'_>]) -> Result<()> {
    if policy == NonFinite::SkipStep {
        *skipped += 1;
        return Ok(());
    }
    let named = due.iter().map(|due| (due.slot.label(due.index), &due.grad));
    Err(Error::NonFinite { names: unfit(named)? })
}

/// The numbers of the next update of a slot, checked to be finite in its type.
fn next_update<R: Rule>(rule: &R, slot: &Slot, index: usize, lr_scale: f64) -> Result<Update> {
    let lr = rule.lr() * lr_scale;
    let weight_decay = slot.weight_decay(rule.weight_decay());
    for (what, number) in [
        ("learning rate", lr),
        ("weight decay", weight_decay),
        ("learning rate times weight decay", lr * weight_decay),
    ] {
        check_for(slot.var.dtype(), what, number).map_err(|why| Error::Optimizer {
            optimizer: R::KIND,
            name: slot.label(index),
            why,
        })?;
    }
    Ok(Update { lr, weight_decay, step: slot.steps + 1 })
}

/// The trained parameters that have a gradient, checked to fit.
fn due<'a, R: Rule>(rule: &R, slots: &'a mut [Slot], grads: &GradStore) -> Result<Vec<Due<'a>>> {
    let mut due = Vec::with_capacity(slots.len());
    for (i, slot) in slots.iter_mut().enumerate() {
        let (Some(lr_scale), Some(grad)) = (slot.lr_scale(), grads.get(&slot.var)) else {
            continue;
        };
        let (var, fits) = (&slot.var, |what: &str, ours: String, theirs: String| {
            let why = format!("its gradient has {what} {theirs}, the variable {ours}");
            Error::Optimizer { optimizer: R::KIND, name: slot.label(i), why }
        });
        if grad.shape() != var.shape() {
            let (ours, theirs) = (format!("{:?}", var.dims()), format!("{:?}", grad.dims()));
            return Err(fits("shape", ours, theirs));
        }
        if grad.dtype() != var.dtype() {
            let (ours, theirs) = (format!("{:?}", var.dtype()), format!("{:?}", grad.dtype()));
            return Err(fits("type", ours, theirs));
        }
        if !var.is_contiguous() {
            let why = "it is not contiguous; make the variable from `contiguous()`".to_string();
            return Err(Error::Optimizer { optimizer: R::KIND, name: slot.label(i), why });
        }
        let update = next_update(rule, slot, i, lr_scale)?;
        let grad = grad.contiguous()?;
        due.push(Due { index: i, slot, grad, update });
    }
    Ok(due)
}

/// Updates large tensors one after the other, each on all threads, and small ones in parallel, each
/// on one thread. So no thread waits for others while it holds the lock of a storage that they
/// might need.
fn update_all<R: Rule>(
    rule: &R,
    map: GradMap,
    measures: Measures,
    due: Vec<Due<'_>>,
) -> Result<()> {
    let update = |due: &mut Due<'_>| due.update(rule, map, measures);
    let small = |due: &Due<'_>| due.grad.elem_count() < STREAM.from && due.grad.device().is_cpu();
    let (mut small, mut large): (Vec<_>, Vec<_>) = due.into_iter().partition(small);
    large.iter_mut().try_for_each(update)?;
    let elements: usize = small.iter().map(|due| due.grad.elem_count()).sum();
    if elements < STREAM.from {
        return small.iter_mut().try_for_each(update);
    }
    threads::map(small.iter_mut(), update).into_iter().collect()
}

impl Due<'_> {
    fn update<R: Rule>(&mut self, rule: &R, map: GradMap, measures: Measures) -> Result<()> {
        let slot = &mut *self.slot;
        let (elements, mut tally) = (slot.var.elem_count(), tally(measures));
        if elements > 0 {
            let (kernel, state) = (rule.kernel(self.update), slot.state.as_ref());
            update(&kernel, map, &slot.var, &self.grad, state, tally.as_mut())?;
        }
        if let Some(tally) = tally {
            slot.measured = Some(measured(&tally, elements));
        }
        slot.steps += 1;
        Ok(())
    }
}
