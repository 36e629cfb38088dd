//! Softmax over the last dimension, with a backward that candle's fused one lacks.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Result, Shape, Tensor, WithDType};

use super::norm::{
    Element, Real, by_dtype, cpu_slice, for_blocks, internal_dtype, rows_per_block, slice, split,
    sum1, sum2,
};
use super::nothing::of_nothing;
use super::record;

const NAME: &str = "softmax-last-dim";

/// `exp(x - max) / sum(exp(x - max))` over the last dimension; the shape stays.
///
/// `candle_nn::ops::softmax_last_dim` has no backward: everything below it stops learning. A row
/// that is `-inf` throughout gives NaN, as candle's does.
///
/// # Errors
///
/// A scalar, or an element type other than f32, f64, f16 and bf16.
pub fn softmax_last_dim(x: &Tensor) -> Result<Tensor> {
    x.dim(D::Minus1)?;
    match x.device() {
        // candle reduces no empty tensors.
        _ if x.elem_count() == 0 => of_nothing(x),
        Device::Cpu => record::apply1(&x.contiguous()?, Softmax),
        _ => compose(x),
    }
}

fn compose(x: &Tensor) -> Result<Tensor> {
    let wide = x.to_dtype(internal_dtype(x.dtype()))?;
    candle_nn::ops::softmax(&wide, D::Minus1)?.to_dtype(x.dtype())
}

struct Softmax;

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(x.dtype(), NAME, T => {
            let len = layout.dims().last().copied().unwrap_or(1);
            let out = forward::<T>(slice(x, layout)?, len);
            Ok((T::to_cpu_storage_owned(out), layout.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        by_dtype!(x.dtype(), NAME, T => {
            let dx = {
                let (ys, yl) = y.storage_and_layout();
                let (gs, gl) = grad.storage_and_layout();
                backward::<T>(cpu_slice(&ys, yl)?, cpu_slice(&gs, gl)?, x.dim(D::Minus1)?)
            };
            Ok(Some(Tensor::from_vec(dx, x.shape(), &Device::Cpu)?))
        })
    }
}

fn forward<T: Element>(x: &[T], len: usize) -> Vec<T> {
    let block = rows_per_block(len, 1) * len;
    let mut out = vec![T::from_f64(0.0); x.len()];
    for_blocks(split(Some(&mut out), block, x.len()), x.len(), |index, out| {
        let mut exps = vec![T::Real::ZERO; len];
        for (out, x) in out.chunks_exact_mut(len).zip(x[index * block..].chunks_exact(len)) {
            let max = max(x);
            for (exp, x) in exps.iter_mut().zip(x) {
                *exp = (x.up() - max).exp_of_negative();
            }
            let scale = T::Real::from_f64(sum1(&exps, |exp| [exp])[0].recip());
            for (out, exp) in out.iter_mut().zip(&exps) {
                *out = T::down(*exp * scale);
            }
        }
    });
    out
}

/// The largest element, in lanes like the sums. A NaN is passed over: its own exponential shows it.
pub(super) fn max<T: Element>(x: &[T]) -> T::Real {
    let larger = |a: T::Real, b: T::Real| if b > a { b } else { a };
    let mut lanes = [T::Real::from_f64(f64::NEG_INFINITY); 8];
    let (chunks, rest) = x.as_chunks::<8>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, x.up());
        }
    }
    rest.iter().map(|x| x.up()).chain(lanes).fold(lanes[0], larger)
}

/// `dx = y * (grad - sum(grad * y))`.
fn backward<T: Element>(y: &[T], grad: &[T], len: usize) -> Vec<T> {
    let block = rows_per_block(len, 1) * len;
    let mut out = vec![T::from_f64(0.0); y.len()];
    for_blocks(split(Some(&mut out), block, y.len()), y.len(), |index, out| {
        let rows =
            y[index * block..].chunks_exact(len).zip(grad[index * block..].chunks_exact(len));
        for (out, (y, grad)) in out.chunks_exact_mut(len).zip(rows) {
            let dot = T::Real::from_f64(sum2(y, grad, |y, g| [y * g])[0]);
            for ((out, y), g) in out.iter_mut().zip(y).zip(grad) {
                *out = T::down(y.up() * (g.up() - dot));
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_composition_agrees_with_the_kernel() -> Result<()> {
        let x = candle_core::Var::randn(0f64, 3.0, (4, 7), &Device::Cpu)?;
        let slope = |y: &Tensor| -> Result<Vec<f64>> {
            let grads = (y.sqr()? * 3.0)?.sum_all()?.backward()?;
            let grad = grads.get(&x).map(|grad| grad.flatten_all()?.to_vec1());
            grad.unwrap_or_else(|| Ok(Vec::new()))
        };
        let (kernel, composed) = (softmax_last_dim(&x)?, compose(&x)?);
        let off = (&kernel - &composed)?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(off < 1e-14, "{off:e}");
        let (kernel, composed) = (slope(&kernel)?, slope(&composed)?);
        assert_eq!((kernel.len(), composed.len()), (28, 28));
        assert!(kernel.iter().zip(&composed).all(|(k, c)| (k - c).abs() < 1e-13));
        Ok(())
    }
}
