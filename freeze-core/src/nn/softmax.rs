//! Softmax over the last dimension, with a backward that candle's fused one lacks.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, D, Device, Result, Tensor, WithDType};

use super::ops::nothing::of_nothing;
use super::ops::operation::{Operand, Operation, Reads};
use super::record::{self, Work};
#[cfg(feature = "cuda")]
use crate::kernel::cuda::{on_card, operand, softmax as card, tensor};
use crate::kernel::slices::{read, with2};
use crate::kernel::{self, by_element, internal_dtype, softmax};

const NAME: &str = "softmax-last-dim";

/// `exp(x - max) / sum(exp(x - max))` over the last dimension, in the shape of `x`.
///
/// `candle_nn::ops::softmax_last_dim` has no backward, so everything before it stops learning. A
/// row that is `-inf` throughout gives NaN, as in candle.
///
/// # Errors
///
/// A scalar, or an element type other than f32, f64, f16 and bf16.
pub fn softmax_last_dim(x: &Tensor) -> Result<Tensor> {
    x.dim(D::Minus1)?;
    match x.device() {
        // candle cannot reduce empty tensors.
        _ if x.elem_count() == 0 => of_nothing(x),
        device if kernel::on(device) => record::apply([x], Work::Elements, Softmax),
        _ => compose(x),
    }
}

fn compose(x: &Tensor) -> Result<Tensor> {
    let wide = x.to_dtype(internal_dtype(x.dtype()))?;
    candle_nn::ops::softmax(&wide, D::Minus1)?.to_dtype(x.dtype())
}

struct Softmax;

impl Operation<1> for Softmax {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu(&self, [(x, layout)]: [Operand<'_, CpuStorage>; 1]) -> Result<CpuStorage> {
        let len = layout.dims().last().copied().unwrap_or(1);
        by_element!(x.dtype(), NAME, T => {
            Ok(T::to_cpu_storage_owned(softmax::forward(&read::<T>(x, layout)?, len)))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Operand<'_, CudaStorage>; 1]) -> Result<CudaStorage> {
        let len = x.1.dims().last().copied().unwrap_or(1);
        card::softmax(&x.0.device, &operand(x)?, len)
    }

    fn reads(&self, _: [bool; 1]) -> Reads<1> {
        Reads { operands: [false], result: true }
    }

    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        y: &Tensor,
        grad: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        let len = x.dim(D::Minus1)?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let dx = on_card([&y.detach(), grad], |device, [y, grad]| {
                card::softmax_back(device, [&y, &grad], len)
            })?;
            return Ok([Some(tensor(dx, x.shape()))]);
        }
        by_element!(x.dtype(), NAME, T => {
            let dx = with2([y, grad], |y: &[T], grad: &[T]| Ok(softmax::backward(y, grad, len)))?;
            Ok([Some(Tensor::from_vec(dx, x.shape(), &Device::Cpu)?)])
        })
    }
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
