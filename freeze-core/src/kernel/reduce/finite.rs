//! Checks whether gradients are finite, before anything is updated.

use candle_core::{Result, Tensor};

use super::by_tensors::sum_by_tensors;
use crate::kernel::pieces::STREAM;
use crate::kernel::{Element, by_element, slices, threads, wide};

/// Whether no element of any gradient is infinite or NaN.
///
/// # Errors
///
/// The device fails, or a type has no arithmetic here.
pub(crate) fn all_finite(grads: &[&Tensor]) -> Result<bool> {
    let (here, elsewhere): (Vec<&Tensor>, Vec<_>) =
        grads.iter().partition(|grad| grad.device().is_cpu());
    // Each large one is checked by all threads, small ones in parallel.
    let (small, large): (Vec<&Tensor>, Vec<_>) =
        here.into_iter().partition(|grad| grad.elem_count() < STREAM.from);
    let elements: usize = small.iter().map(|grad| grad.elem_count()).sum();
    let mut finite: Vec<bool> = large.into_iter().map(finite_here).collect::<Result<_>>()?;
    finite.extend(match elements < STREAM.from {
        true => small.into_iter().map(finite_here).collect::<Result<Vec<_>>>()?,
        false => {
            let finite = threads::map(small.into_iter(), finite_here);
            finite.into_iter().collect::<Result<Vec<_>>>()?
        }
    });
    Ok(finite.into_iter().all(|finite| finite) && all_finite_elsewhere(&elsewhere)?)
}

#[cfg(feature = "cuda")]
fn all_finite_elsewhere(grads: &[&Tensor]) -> Result<bool> {
    let (cards, others): (Vec<&Tensor>, Vec<_>) =
        grads.iter().partition(|grad| grad.device().is_cuda());
    Ok(super::cuda::all_finite(&cards)? && all_finite_by_tensors(&others)?)
}

#[cfg(not(feature = "cuda"))]
fn all_finite_elsewhere(grads: &[&Tensor]) -> Result<bool> {
    all_finite_by_tensors(grads)
}

fn finite_here(grad: &Tensor) -> Result<bool> {
    by_element!(grad.dtype(), "all-finite", T => {
        slices::with(grad, |elements: &[T]| Ok(all_finite_of(elements)))
    })
}

fn all_finite_of<P: Element>(elements: &[P]) -> bool {
    if elements.len() < STREAM.from {
        return wide(
            #[inline(always)]
            || P::all_finite(elements),
        );
    }
    threads::map(elements.chunks(STREAM.grain), all_finite_of).into_iter().all(|finite| finite)
}

/// The sum of finite numbers is finite unless they are huge; only then is each element checked.
pub(super) fn all_finite_by_tensors(grads: &[&Tensor]) -> Result<bool> {
    if sum_by_tensors(grads, |grad| Ok(grad.clone()))?.is_finite() {
        return Ok(true);
    }
    // Zero times a finite number is zero, and NaN times anything else.
    Ok(sum_by_tensors(grads, |grad| grad * 0.0)?.is_finite())
}
