//! Gradients of what trains, averaged over the ranks in one flat buffer.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use half::bf16;

use super::Ranks;
use crate::error::Result;
use crate::kernel::slices::with;
use crate::kernel::{Element, Real};
use crate::model::Freezable;
use crate::parallel::Numbers;
use crate::train::Training;

/// The trained variables, with their full names.
type Vars<'a> = Vec<&'a (Arc<str>, Var)>;

impl<M: Freezable> Training<M> {
    /// The mean of the ranks' gradients; `None` if no rank has any. The ranks bring
    /// one buffer: all trained variables in declared order, then for each whether the rank has a gradient of it.
    pub(in crate::train) fn exchanged(
        &mut self,
        own: Result<Option<GradStore>>,
    ) -> Result<Option<GradStore>> {
        if self.ranks.is_none() {
            return own;
        }
        self.average_statistics()?;
        let own = self.all_can("the gradients of a step", own)?;
        let Some(ranks) = &self.ranks else { return Ok(own) };
        let (own, share) = (own.unwrap_or_default(), 1.0 / ranks.group.size() as f64);
        let (wide, narrow): (Vars<'_>, Vars<'_>) =
            self.trained.iter().partition(|(_, var)| var.dtype() == DType::F64);
        let mut mean = GradStore::default();
        let reached = average::<f32>(ranks, &narrow, &own, share, &mut mean)?
            + average::<f64>(ranks, &wide, &own, share, &mut mean)?;
        Ok((reached > 0).then_some(mean))
    }
}

/// Numbers that travel.
trait Travels: Real + Element {
    fn add_up(ranks: &Ranks, numbers: &mut [Self]) -> Result<()>;
}

impl Travels for f32 {
    fn add_up(ranks: &Ranks, numbers: &mut [Self]) -> Result<()> {
        if !ranks.halves {
            return ranks.group.sum("gradients", Numbers::F32(numbers));
        }
        let mut halves: Vec<bf16> = numbers.iter().map(|&number| bf16::from_f32(number)).collect();
        ranks.group.sum("gradients in bf16", Numbers::Bf16(&mut halves))?;
        numbers.iter_mut().zip(halves).for_each(|(number, half)| *number = half.to_f32());
        Ok(())
    }
}

impl Travels for f64 {
    fn add_up(ranks: &Ranks, numbers: &mut [Self]) -> Result<()> {
        ranks.group.sum("gradients", Numbers::F64(numbers))
    }
}

/// Adds the mean gradients of `vars` to `mean`, and returns how many there are.
fn average<T: Travels>(
    ranks: &Ranks,
    vars: &Vars<'_>,
    own: &GradStore,
    share: f64,
    mean: &mut GradStore,
) -> Result<usize> {
    if vars.is_empty() {
        return Ok(0);
    }
    let elements: usize = vars.iter().map(|(_, var)| var.elem_count()).sum();
    let mut flat: Vec<T> = Vec::with_capacity(elements + vars.len());
    for (_, var) in vars {
        match own.get(var) {
            Some(gradient) => with(&gradient.to_device(&Device::Cpu)?, |gradient: &[T]| {
                flat.extend(gradient.iter().map(|&x| x * T::from_f64(share)));
                Ok(())
            })?,
            None => flat.resize(flat.len() + var.elem_count(), T::ZERO),
        }
    }
    flat.extend(vars.iter().map(|(_, var)| T::from_f64(f64::from(own.get(var).is_some()))));
    T::add_up(ranks, &mut flat)?;
    let reached: Vec<bool> = flat[elements..].iter().map(|&ranks| ranks > T::ZERO).collect();
    flat.truncate(elements);
    let flat = Tensor::from_vec(flat, elements, &Device::Cpu)?;
    let mut at = 0;
    for ((_, var), reached) in vars.iter().zip(&reached) {
        let gradient = flat.narrow(0, at, var.elem_count())?;
        at += var.elem_count();
        if *reached {
            let gradient = gradient.reshape(var.shape())?.to_dtype(var.dtype())?;
            mean.insert(var, gradient.to_device(var.device())?);
        }
    }
    Ok(reached.into_iter().filter(|reached| *reached).count())
}
