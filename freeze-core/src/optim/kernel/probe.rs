//! Questions asked of gradients before anything is updated.

use candle_core::{DType, Result, Tensor, bail};
use half::{bf16, f16};

use super::{Element, PARALLEL_MIN, cpu};
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
    Ok(finite.into_iter().all(|finite| finite) && all_finite_by_tensors(&elsewhere)?)
}

/// The sum of the squares of all elements of all gradients, in double precision.
///
/// # Errors
///
/// As [`all_finite`].
pub(crate) fn sum_squares(grads: &[&Tensor]) -> Result<f64> {
    let (here, elsewhere): (Vec<&Tensor>, Vec<_>) =
        grads.iter().partition(|grad| grad.device().is_cpu());
    let here: Vec<f64> = here.into_iter().map(squares_here).collect::<Result<_>>()?;
    Ok(here.into_iter().sum::<f64>() + sum_squares_by_tensors(&elsewhere)?)
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

fn squares_here(grad: &Tensor) -> Result<f64> {
    match grad.dtype() {
        DType::F32 => with_slice::<f32, _>(grad, cpu::sum_squares),
        DType::F64 => with_slice::<f64, _>(grad, cpu::sum_squares),
        DType::F16 => with_slice::<f16, _>(grad, cpu::sum_squares),
        DType::BF16 => with_slice::<bf16, _>(grad, cpu::sum_squares),
        dtype => bail!("no optimizer kernel for {dtype:?}"),
    }
}

/// The sum of finite numbers is finite, unless they are huge: then each is looked at.
pub(super) fn all_finite_by_tensors(grads: &[&Tensor]) -> Result<bool> {
    if fetched(grads, |grad| Ok(grad.clone()))?.is_finite() {
        return Ok(true);
    }
    // Zero times a finite number is zero, times anything else NaN.
    Ok(fetched(grads, |grad| grad * 0.0)?.is_finite())
}

/// Where the squares overflow, the largest element is divided out first.
pub(super) fn sum_squares_by_tensors(grads: &[&Tensor]) -> Result<f64> {
    let sum = fetched(grads, Tensor::sqr)?;
    if sum.is_finite() || !all_finite_by_tensors(grads)? {
        return Ok(sum);
    }
    let mut total = 0.0;
    for &grad in grads.iter().filter(|grad| grad.elem_count() > 0) {
        let largest = grad.detach().to_dtype(DType::F32)?.abs()?.flatten_all()?.max(0)?;
        let largest = f64::from(largest.to_scalar::<f32>()?).max(f64::MIN_POSITIVE);
        total += fetched(&[grad], |grad| (grad / largest)?.sqr())? * largest * largest;
    }
    Ok(total)
}

/// The sum over everything that `map` makes of the gradients, fetched from the device once.
fn fetched(grads: &[&Tensor], map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<f64> {
    let mut sums = Vec::new();
    for grad in grads.iter().filter(|grad| grad.elem_count() > 0) {
        let numbers = map(&grad.detach().to_dtype(DType::F32)?)?.flatten_all()?;
        let Some(first) = sums.first().map(|sum: &Tensor| sum.device().clone()) else {
            sums.push(sum(&numbers)?);
            continue;
        };
        sums.push(sum(&numbers)?.to_device(&first)?);
    }
    if sums.is_empty() {
        return Ok(0.0);
    }
    let sums = Tensor::stack(&sums, 0)?.to_vec1::<f32>()?;
    Ok(sums.into_iter().map(f64::from).sum())
}

/// Row by row first: a GPU sums each row in a block of its own, and one row in one block only.
fn sum(numbers: &Tensor) -> Result<Tensor> {
    const ROW: usize = 4096;
    let (len, rows) = (numbers.elem_count(), numbers.elem_count() / ROW);
    if rows < 2 {
        return numbers.sum_all();
    }
    let body = numbers.narrow(0, 0, rows * ROW)?.reshape((rows, ROW))?.sum(1)?.sum_all()?;
    match len - rows * ROW {
        0 => Ok(body),
        rest => body + numbers.narrow(0, rows * ROW, rest)?.sum_all()?,
    }
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
