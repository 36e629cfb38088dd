//! Questions asked of gradients before anything is updated.

use candle_core::{DType, Result, Tensor, bail};
use half::{bf16, f16};

use super::{Element, cpu};

/// Whether no element is infinite or NaN.
///
/// # Errors
///
/// The device fails, or the type is none of the optimizers'.
pub(crate) fn all_finite(grad: &Tensor) -> Result<bool> {
    if grad.device().is_cpu() {
        return match grad.dtype() {
            DType::F32 => with_slice::<f32, _>(grad, cpu::all_finite),
            DType::F64 => with_slice::<f64, _>(grad, cpu::all_finite),
            DType::F16 => with_slice::<f16, _>(grad, cpu::all_finite),
            DType::BF16 => with_slice::<bf16, _>(grad, cpu::all_finite),
            dtype => bail!("no optimizer kernel for {dtype:?}"),
        };
    }
    all_finite_by_tensors(grad)
}

/// The sum of the squares in double precision.
///
/// # Errors
///
/// As [`all_finite`].
pub(crate) fn sum_squares(grad: &Tensor) -> Result<f64> {
    if grad.device().is_cpu() {
        return match grad.dtype() {
            DType::F32 => with_slice::<f32, _>(grad, cpu::sum_squares),
            DType::F64 => with_slice::<f64, _>(grad, cpu::sum_squares),
            DType::F16 => with_slice::<f16, _>(grad, cpu::sum_squares),
            DType::BF16 => with_slice::<bf16, _>(grad, cpu::sum_squares),
            dtype => bail!("no optimizer kernel for {dtype:?}"),
        };
    }
    sum_squares_by_tensors(grad)
}

/// Zero times a finite number is zero, times anything else NaN.
pub(super) fn all_finite_by_tensors(grad: &Tensor) -> Result<bool> {
    let zeros = (grad.detach() * 0.0)?;
    Ok(zeros.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()? == 0.0)
}

/// The largest element is divided out first: the square of an `f32` may be infinite.
pub(super) fn sum_squares_by_tensors(grad: &Tensor) -> Result<f64> {
    let grad = grad.detach().to_dtype(DType::F32)?.flatten_all()?;
    if grad.elem_count() == 0 {
        return Ok(0.0);
    }
    let largest = f64::from(grad.abs()?.max(0)?.to_scalar::<f32>()?);
    if largest == 0.0 || !largest.is_finite() {
        return Ok(largest);
    }
    let share = f64::from((grad / largest)?.sqr()?.sum_all()?.to_scalar::<f32>()?);
    Ok(share * largest * largest)
}

fn with_slice<P: Element, A>(grad: &Tensor, ask: impl Fn(&[P]) -> A) -> Result<A> {
    let grad = grad.contiguous()?;
    let (storage, layout) = grad.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else {
        bail!("expected a tensor on the cpu")
    };
    let elements = P::cpu_storage_as_slice(storage)?;
    let range = layout.contiguous_offsets().map(|(start, end)| start..end);
    match range.and_then(|range| elements.get(range)) {
        Some(elements) => Ok(ask(elements)),
        None => bail!("the gradient is not contiguous"),
    }
}
