//! Whether gradients are finite, asked before anything is updated.

use candle_core::{DType, Result, Tensor, bail};
use half::{bf16, f16};

use super::by_tensors::sum_by_tensors;
use super::{Element, PARALLEL_MIN, cpu};
use crate::nn::span;
use crate::threads;

/// Whether no element of any gradient is infinite or NaN.
///
/// # Errors
///
/// The device fails, or a type is none of the optimizers'.
pub(crate) fn all_finite(grads: &[&Tensor]) -> Result<bool> {
    let (here, elsewhere): (Vec<&Tensor>, Vec<_>) =
        grads.iter().partition(|grad| grad.device().is_cpu());
    // Large ones are looked at by all threads each, small ones side by side.
    let (small, large): (Vec<&Tensor>, Vec<_>) =
        here.into_iter().partition(|grad| grad.elem_count() < PARALLEL_MIN);
    let elements: usize = small.iter().map(|grad| grad.elem_count()).sum();
    let mut finite: Vec<bool> = large.into_iter().map(finite_here).collect::<Result<_>>()?;
    finite.extend(match elements < PARALLEL_MIN {
        true => small.into_iter().map(finite_here).collect::<Result<Vec<_>>>()?,
        false => {
            let finite = threads::map_locking(small.into_iter(), finite_here);
            finite.into_iter().collect::<Result<Vec<_>>>()?
        }
    });
    Ok(finite.into_iter().all(|finite| finite) && all_finite_elsewhere(&elsewhere)?)
}

#[cfg(feature = "cuda")]
fn all_finite_elsewhere(grads: &[&Tensor]) -> Result<bool> {
    let (cards, others): (Vec<&Tensor>, Vec<_>) =
        grads.iter().partition(|grad| grad.device().is_cuda());
    Ok(crate::raw::cuda::all_finite(&cards)? && all_finite_by_tensors(&others)?)
}

#[cfg(not(feature = "cuda"))]
fn all_finite_elsewhere(grads: &[&Tensor]) -> Result<bool> {
    all_finite_by_tensors(grads)
}

fn finite_here(grad: &Tensor) -> Result<bool> {
    match grad.dtype() {
        DType::F32 => with_slice::<f32, _>(grad, cpu::all_finite),
        DType::F64 => with_slice::<f64, _>(grad, cpu::all_finite),
        DType::F16 => with_slice::<f16, _>(grad, cpu::all_finite),
        DType::BF16 => with_slice::<bf16, _>(grad, cpu::all_finite),
        dtype => bail!("no optimizer kernel for {dtype:?}"),
    }
}

/// The sum of finite numbers is finite, unless they are huge: then each is looked at.
pub(super) fn all_finite_by_tensors(grads: &[&Tensor]) -> Result<bool> {
    if sum_by_tensors(grads, |grad| Ok(grad.clone()))?.is_finite() {
        return Ok(true);
    }
    // Zero times a finite number is zero, times anything else NaN.
    Ok(sum_by_tensors(grads, |grad| grad * 0.0)?.is_finite())
}

pub(super) fn with_slice<P: Element, A>(grad: &Tensor, ask: impl Fn(&[P]) -> A) -> Result<A> {
    let grad = grad.contiguous()?;
    let (storage, layout) = grad.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else {
        bail!("expected a tensor on the cpu")
    };
    let elements = P::cpu_storage_as_slice(storage)?;
    match span(layout).and_then(|span| elements.get(span)) {
        Some(elements) => Ok(ask(elements)),
        None => bail!("the gradient is not contiguous"),
    }
}
