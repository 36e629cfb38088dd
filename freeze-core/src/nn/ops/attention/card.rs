//! Attention on a card: products by cuBLAS, and all between them as one kernel, in place. The probabilities of a call,
//! `batch * heads * queries * keys`, are kept for the backward.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{CudaDevice, CudaStorage, DType, Layout, Result, Tensor, bail};

use super::NAME;
use super::kept::{Attention, steps};
use crate::kernel::attention::Sizes;
use crate::kernel::cuda::attention::Softmax;
use crate::kernel::cuda::dropout::{drop_in_place, dropped};
use crate::kernel::cuda::{Array, elements, on_card, operand, tensor};
use crate::nn::ops::operation::Operand;

/// What the products run over: `[batch * key heads, rows, keys]`, the rows being the queries of all heads that share
/// a key head.
fn products(sizes: &Sizes) -> [usize; 3] {
    let count = sizes.batch * sizes.key_heads;
    [count, sizes.heads / sizes.key_heads * sizes.queries, sizes.keys]
}

/// Turns products of queries and keys into probabilities, in place.
fn softmax(op: &Attention, scale: f64, device: &CudaDevice, scores: Array<'_>) -> Result<()> {
    let Attention { sizes, sight, ref bias, .. } = *op;
    let Some(bias) = bias else {
        return Softmax { sizes, scale, sight, bias: None }.forward(device, scores);
    };
    on_card([bias], |other, [values]| match other.same_device(device) {
        true => {
            let bias = Some((values, steps(bias)));
            Softmax { sizes, scale, sight, bias }.forward(device, scores)
        }
        false => bail!("{NAME}: the mask is on another card than the queries"),
    })
}

/// The result, `[batch, heads, queries, width]`.
pub(super) fn forward(
    op: &Attention,
    [(q, q_l), (k, k_l), (v, v_l)]: [Operand<'_, CudaStorage>; 3],
) -> Result<CudaStorage> {
    let (Sizes { inner, width, .. }, [count, rows, keys]) = (op.sizes, products(&op.sizes));
    let (device, shape) = (&q.device, (count, rows, keys));
    let layout = |dims: (usize, usize, usize), like: &Layout| {
        Layout::contiguous_with_offset(dims, like.start_offset())
    };
    let of_keys = layout((count, keys, inner), k_l).transpose(1, 2)?;
    let each = (count, rows, keys, inner);
    let scores = match (inner, q.dtype()) {
        (0, dtype) => device.zeros_impl(&shape.into(), dtype)?,
        // Products without a scale may be larger than the largest number of this type.
        (_, DType::F16) => {
            let scaled = elements::affine(device, operand((q, q_l))?, [op.scale, 0.0])?;
            scaled.matmul(k, each, &Layout::contiguous((count, rows, inner)), &of_keys)?
        }
        _ => q.matmul(k, each, &layout((count, rows, inner), q_l), &of_keys)?,
    };
    let scale = if q.dtype() == DType::F16 { 1.0 } else { op.scale };
    softmax(op, scale, device, Array::whole(&scores)?)?;
    let dropped = op.drops.as_ref().map(|drops| dropped(device, drops, Array::whole(&scores)?));
    let dropped = dropped.transpose()?;
    let y = dropped.as_ref().unwrap_or(&scores).matmul(
        v,
        (count, rows, width, keys),
        &Layout::contiguous(shape),
        &layout((count, keys, width), v_l),
    )?;
    // Set once: an operation runs forward once.
    let _ = op.probabilities.set(tensor(scores, shape));
    Ok(y)
}

/// The gradients of queries, keys and values that are wanted. With probabilities `p`: `dv = pᵀ grad`,
/// `ds = scale * p * (dp - sum(p * dp))` of `dp = grad vᵀ`, `dq = ds k` and `dk = dsᵀ q`; where probabilities were
/// dropped, so are those in `dv`, and `dp`.
pub(super) fn gradients(
    op: &Attention,
    [q, k, v]: [&Tensor; 3],
    grad: &Tensor,
    wanted: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    let Some(p) = op.probabilities.get() else { bail!("{NAME}: a backward without a forward") };
    let [count, rows, keys] = products(&op.sizes);
    let matrices = |tensor: &Tensor, len| tensor.reshape((count, len, ()));
    let grad = matrices(grad, rows)?;
    let [mut dq, mut dk, mut dv] = [const { None }; 3];
    if wanted[2] {
        let kept = match &op.drops {
            None => p.clone(),
            Some(drops) => {
                tensor(on_card([p], |device, [p]| dropped(device, drops, p))?, p.shape())
            }
        };
        dv = Some(kept.t()?.matmul(&grad)?.reshape(v.shape())?);
    }
    if wanted[0] || wanted[1] {
        let slopes = grad.matmul(&matrices(v, keys)?.t()?)?;
        let Attention { sizes, scale, sight, ref drops, .. } = *op;
        on_card([p, &slopes], |device, [p, slopes]| {
            if let Some(drops) = drops {
                drop_in_place(device, drops, slopes)?;
            }
            Softmax { sizes, scale, sight, bias: None }.backward(device, p, slopes)
        })?;
        if wanted[0] {
            dq = Some(slopes.matmul(&matrices(k, keys)?)?.reshape(q.shape())?);
        }
        if wanted[1] {
            dk = Some(slopes.t()?.matmul(&matrices(q, rows)?)?.reshape(k.shape())?);
        }
    }
    Ok([dq, dk, dv])
}
