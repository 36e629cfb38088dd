//! The numbers that are computed outside an optimizer's pass: at once on the CPU, elsewhere as scalars
//! that are read when they are asked for.

use candle_core::{DType, Tensor, Var};

use crate::error::Result;
use crate::kernel::reduce::{dot, sums, sums_between};
use crate::plan::Norms;
use crate::policy::seen::{Number, Pair};
use crate::policy::{Needs, Seen};

/// Adds the norms of the gradient.
pub(super) fn gradient(seen: Seen, grad: &Tensor) -> Result<Seen> {
    Ok(seen.with_gradient(norms(grad)?))
}

/// Adds what an update shows, compared with the weight before it.
pub(super) fn after_update(
    mut seen: Seen,
    needs: Needs,
    var: &Var,
    before: Option<&Tensor>,
) -> Result<Seen> {
    let weight = var.as_detached_tensor();
    if needs.contains(Needs::WEIGHT) {
        seen = seen.with_weight(norms(&weight)?);
    }
    let Some(before) = before else { return Ok(seen) };
    let (update, share) = compared(&weight, before)?;
    if needs.contains(Needs::UPDATE) {
        seen = seen.with_update(update);
    }
    if needs.contains(Needs::RELATIVE_UPDATE) {
        seen = seen.with_relative_update(share);
    }
    Ok(seen)
}

/// The norms of a tensor.
pub(super) fn norms(tensor: &Tensor) -> Result<Pair> {
    if tensor.device().is_cpu() {
        return Ok(pair(sums(tensor)?));
    }
    let tensor = tensor.to_dtype(DType::F32)?;
    let l1 = tensor.abs()?.sum_all()?;
    Ok(Pair { l1: Number::There(l1), l2: Number::There(tensor.sqr()?.sum_all()?.sqrt()?) })
}

/// The norms of the difference of two tensors.
pub(super) fn between(after: &Tensor, before: &Tensor) -> Result<Pair> {
    Ok(compared(after, before)?.0)
}

/// The norms of the difference, and the mean of |difference / before|.
fn compared(after: &Tensor, before: &Tensor) -> Result<(Pair, Number)> {
    let elements = after.elem_count().max(1) as f64;
    if after.device().is_cpu() {
        let [l1, squares, shares] = sums_between(after, before)?;
        return Ok((pair([l1, squares]), (shares / elements).into()));
    }
    let difference = (after.to_dtype(DType::F32)? - before.to_dtype(DType::F32)?)?;
    let size = before.to_dtype(DType::F32)?.abs()?;
    let zeros = size.eq(0.0)?.to_dtype(DType::F32)?;
    let shares = (difference.abs()? / (&size + &zeros)?)?;
    let shares = (shares * (1.0 - zeros)?)?;
    Ok((norms(&difference)?, Number::There((shares.sum_all()? / elements)?)))
}

/// The drop of the loss, -sum(g * (w - last)).
pub(super) fn drop_of(grad: &Tensor, var: &Var, last: &Tensor) -> Result<Number> {
    let weight = var.as_detached_tensor();
    if weight.device().is_cpu() {
        return Ok((dot(grad, last)? - dot(grad, &weight)?).into());
    }
    let moved = (last.to_dtype(DType::F32)? - weight.to_dtype(DType::F32)?)?;
    Ok(Number::There((moved * grad.to_dtype(DType::F32)?)?.sum_all()?))
}

/// The mean of g^2 / (Var(g) + 1e-8), with the unbiased variance over dimension 0; `None` for fewer
/// than two rows, which have no variance.
pub(super) fn signal_to_noise(grad: &Tensor) -> Result<Option<Number>> {
    if grad.dims().first().is_none_or(|rows| *rows < 2) || grad.elem_count() == 0 {
        return Ok(None);
    }
    let grad = match grad.device().is_cpu() {
        true => grad.to_dtype(DType::F64)?,
        false => grad.to_dtype(DType::F32)?,
    };
    let variance = (grad.var_keepdim(0)? + 1e-8)?;
    let ratio = grad.sqr()?.broadcast_div(&variance)?.mean_all()?;
    Ok(Some(Number::There(ratio)))
}

fn pair([l1, squares]: [f64; 2]) -> Pair {
    Norms { l1, l2: squares.sqrt() }.into()
}
