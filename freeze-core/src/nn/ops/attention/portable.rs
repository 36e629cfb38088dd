//! Attention composed of candle's operations, each of which has a backward, for other devices.

use candle_core::{D, Result, Tensor};

use super::kept::Attention;
use crate::kernel::attention::{Sight, Sizes};
use crate::kernel::internal_dtype;
use crate::kernel::slices::number_like;

pub(super) fn compose(q: &Tensor, k: &Tensor, v: &Tensor, op: &Attention) -> Result<Tensor> {
    let (dtype, sizes) = (internal_dtype(q.dtype()), &op.sizes);
    let (k, v) = (shared(&k.to_dtype(dtype)?, sizes)?, shared(&v.to_dtype(dtype)?, sizes)?);
    let scaled = (q.to_dtype(dtype)? * op.scale)?.contiguous()?;
    let mut scores = scaled.matmul(&k.transpose(2, 3)?.contiguous()?)?;
    if let Some(bias) = &op.bias {
        scores = scores.broadcast_add(&bias.to_dtype(dtype)?)?;
    }
    if op.sight == Sight::Causal {
        scores = scores.broadcast_add(&unseen(sizes, &scores)?)?;
    }
    // A row that sees no key has exponentials of 0, divided by 1.
    let least = number_like(f64::from(f32::MIN), &scores)?;
    let max = scores.detach().max_keepdim(D::Minus1)?.broadcast_maximum(&least)?;
    let exps = scores.broadcast_sub(&max)?.exp()?;
    let sum = exps.sum_keepdim(D::Minus1)?;
    let sum = (&sum + sum.detach().eq(0f64)?.to_dtype(dtype)?)?;
    let mut probabilities = exps.broadcast_div(&sum)?;
    if let Some(drops) = &op.drops {
        let (kept, shape) = (drops.kept(0), probabilities.shape());
        let kept = kept.take(shape.elem_count()).map(u8::from).collect();
        let kept = Tensor::from_vec(kept, shape, q.device())?.to_dtype(dtype)?;
        probabilities = (probabilities * (kept * drops.scale)?)?;
    }
    probabilities.matmul(&v)?.to_dtype(q.dtype())
}

/// Keys or values repeated for each query head.
fn shared(keys: &Tensor, sizes: &Sizes) -> Result<Tensor> {
    let (batch, key_heads, len, size) = keys.dims4()?;
    let group = sizes.heads / key_heads;
    let each = keys.unsqueeze(2)?.broadcast_as((batch, key_heads, group, len, size))?;
    each.reshape((batch, sizes.heads, len, size))?.contiguous()
}

/// The mask that hides keys after a query's position.
fn unseen(sizes: &Sizes, like: &Tensor) -> Result<Tensor> {
    let &Sizes { queries, keys, .. } = sizes;
    let row = |query| (0..keys).map(move |key| key + queries > query + keys);
    let value = |unseen| if unseen { f32::NEG_INFINITY } else { 0.0 };
    let values: Vec<f32> = (0..queries).flat_map(row).map(value).collect();
    Tensor::from_vec(values, (queries, keys), like.device())?.to_dtype(like.dtype())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::kernel::Drops;
    use crate::kernel::attention::Order;
    use crate::nn::ops::attention::{AttentionMask, attend, check};

    fn off(a: &Tensor, b: &Tensor) -> Result<f64> {
        (a.to_dtype(DType::F64)? - b.to_dtype(DType::F64)?)?.abs()?.max_all()?.to_scalar()
    }

    #[test]
    fn the_composition_agrees_with_the_kernel() -> Result<()> {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5), (DType::F16, 1e-2)] {
            let random = |shape: [usize; 4]| {
                let values = Tensor::randn(0f64, 1.0, &shape[..], &Device::Cpu)?;
                Var::from_tensor(&values.to_dtype(dtype)?)
            };
            let (q, k, v) = (random([2, 4, 5, 3])?, random([2, 2, 4, 3])?, random([2, 2, 4, 6])?);
            // The first query sees nothing under `Causal`, the last key is hidden from one batch.
            let hide = [0.0, 0.5, -1.0, 0.0, 0.0, 0.0, 0.0, f64::NEG_INFINITY];
            let bias = Tensor::new(&hide, &Device::Cpu)?.reshape((2, 1, 1, 4))?.to_dtype(dtype)?;
            for (mask, drops) in [
                (AttentionMask::None, None),
                (AttentionMask::Causal, None),
                (AttentionMask::Additive(&bias), None),
                (AttentionMask::CausalAdditive(&bias), None),
                (AttentionMask::Causal, Some(Drops::new(7, 3, 0.4))),
            ] {
                let sizes = check::sizes([&q, &k, &v], None)?;
                let bias = mask.added().map(|mask| check::bias(mask, &q, &sizes)).transpose()?;
                let kernel = attend([&q, &k, &v], None, mask, Some(0.7), |_| drops)?;
                let op = Attention::new((sizes, Order::Apart), 0.7, (mask.sight(), bias), drops);
                let composed = compose(&q, &k, &v, &op)?;
                assert!(off(&kernel, &composed)? < tolerance, "{mask:?}");
                let kernel = kernel.sqr()?.mean_all()?.backward()?;
                let composed = composed.sqr()?.mean_all()?.backward()?;
                for var in [&q, &k, &v] {
                    let (Some(kernel), Some(composed)) = (kernel.get(var), composed.get(var))
                    else {
                        panic!("no gradient")
                    };
                    assert!(off(kernel, composed)? < tolerance, "{mask:?}");
                }
            }
        }
        Ok(())
    }
}
