//! Row normalisation as an operation of candle's graph.

use std::sync::OnceLock;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, D, Result, Tensor, WithDType};

use super::{check_eps, check_scales, of_operands, tensors, three};
#[cfg(feature = "cuda")]
use crate::kernel::cuda::{on_card, operand, rows as card, sums, tensor};
use crate::kernel::norm::Center;
use crate::kernel::norm::rows::{self, RowStats};
use crate::kernel::slices::{read, with3};
use crate::kernel::{self, by_element, internal_dtype};
use crate::nn::ops::nothing::of_nothing;
use crate::nn::ops::operation::{Operand, Operation, Reads};
use crate::nn::record::{self, Work};

/// Normalises the last dimension and scales it: kernels on the CPU and on CUDA cards, candle's operations elsewhere.
pub(crate) fn normalize_rows(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    eps: f64,
    center: Center,
) -> Result<Tensor> {
    check(x, weight, bias)?;
    check_eps(eps)?;
    if x.elem_count() == 0 {
        return of_nothing(x);
    }
    if !kernel::on(x.device()) {
        return compose(x, weight, bias, eps, center);
    }
    let op = RowNorm {
        eps,
        center,
        stats: OnceLock::new(),
        #[cfg(feature = "cuda")]
        on_card: OnceLock::new(),
    };
    match bias {
        None => record::apply([x, weight], Work::Elements, op),
        Some(bias) => record::apply([x, weight, bias], Work::Elements, op),
    }
}

fn check(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    let size = x.dim(D::Minus1)?;
    let has = format_args!("the input's last dimension is {size}");
    check_scales(x, size, has, [("weight", Some(weight)), ("bias", bias)])
}

/// The same composed of candle's operations, each of which has a backward, for other devices.
pub(super) fn compose(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    eps: f64,
    center: Center,
) -> Result<Tensor> {
    let dtype = internal_dtype(x.dtype());
    let wide = x.to_dtype(dtype)?;
    let wide = match center {
        Center::Mean => wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?,
        Center::Zero => wide,
    };
    let deviation = (wide.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    let scaled = wide.broadcast_div(&deviation)?.broadcast_mul(&weight.to_dtype(dtype)?)?;
    match bias {
        None => scaled,
        Some(bias) => scaled.broadcast_add(&bias.to_dtype(dtype)?)?,
    }
    .to_dtype(x.dtype())
}

struct RowNorm {
    eps: f64,
    center: Center,
    /// Computed by the forward, used by the backward.
    stats: OnceLock<Vec<RowStats>>,
    /// The same on a card.
    #[cfg(feature = "cuda")]
    on_card: OnceLock<CudaStorage>,
}

const NAME: &str = "normalize-rows";

/// The operands are an input, a weight and, if there are three, a bias.
impl<const N: usize> Operation<N> for RowNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; N]) -> Result<CpuStorage> {
        self.forward(&operands)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, operands: [Operand<'_, CudaStorage>; N]) -> Result<CudaStorage> {
        let device = &operands[0].0.device;
        let (x, w) = (operand(operands[0])?, operand(operands[1])?);
        let bias = operands.get(2).map(|&bias| operand(bias)).transpose()?;
        let affine = [Some(&w), bias.as_ref()];
        let (y, stats) = card::normalize(device, &x, affine, self.eps, self.center)?;
        let _ = self.on_card.set(stats);
        Ok(y)
    }

    fn reads(&self, _: [bool; N]) -> Reads<N> {
        Reads::OPERANDS
    }

    fn gradients(
        &self,
        operands: [&Tensor; N],
        _: &Tensor,
        grad: &Tensor,
        wanted: [bool; N],
    ) -> Result<[Option<Tensor>; N]> {
        #[cfg(feature = "cuda")]
        if let Some(stats) = self.on_card.get() {
            return self.gradients_on_card(operands, grad, stats, three(&wanted));
        }
        self.backward(&operands, grad, three(&wanted)).map(of_operands)
    }
}

impl RowNorm {
    fn forward(&self, operands: &[Operand<'_, CpuStorage>]) -> Result<CpuStorage> {
        let ((x, x_l), (w, w_l)) = (operands[0], operands[1]);
        by_element!(x.dtype(), NAME, T => {
            let (x, w) = (read::<T>(x, x_l)?, read::<T>(w, w_l)?);
            let bias = operands.get(2).map(|(b, b_l)| read::<T>(b, b_l)).transpose()?;
            let (y, stats) = rows::forward(&x, &w, bias.as_deref(), self.eps, self.center);
            // Set once: an operation runs forward once.
            let _ = self.stats.set(stats);
            Ok(T::to_cpu_storage_owned(y))
        })
    }

    fn backward(
        &self,
        operands: &[&Tensor],
        grad: &Tensor,
        wanted: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let (x, w) = (operands[0], operands[1]);
        let stats = self.stats.get().map_or(&[] as &[_], Vec::as_slice);
        by_element!(x.dtype(), NAME, T => {
            let found = with3([x, w, grad], |x: &[T], w: &[T], grad: &[T]| {
                Ok(rows::backward(x, w, grad, stats, self.center, wanted))
            })?;
            tensors(found, operands)
        })
    }
}

#[cfg(feature = "cuda")]
impl RowNorm {
    fn gradients_on_card<const N: usize>(
        &self,
        operands: [&Tensor; N],
        grad: &Tensor,
        stats: &CudaStorage,
        [input, weighted, biased]: [bool; 3],
    ) -> Result<[Option<Tensor>; N]> {
        let mut storages = on_card([operands[0], operands[1], grad], |device, [x, w, grad]| {
            let back = || card::normalize_back(device, [&x, &w, &grad], stats, self.center);
            let dx = input.then(back).transpose()?;
            let [db, dw] = match weighted || biased {
                false => [None, None],
                true => {
                    let wanted = [biased, weighted];
                    sums::normal_column_sums(device, [&grad, &x], stats, w.len, wanted)?
                }
            };
            Ok([dx, dw, db])
        })?;
        let mut tensors = [const { None }; N];
        for ((to, operand), storage) in tensors.iter_mut().zip(operands).zip(&mut storages) {
            let storage = storage.take();
            *to = storage.map(|storage| tensor(storage, operand.shape()));
        }
        Ok(tensors)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;

    #[test]
    fn the_composition_agrees_with_the_kernels() -> Result<()> {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5), (DType::F16, 4e-3)] {
            let random = |shape: &[usize]| {
                Var::from_tensor(&Tensor::randn(0.2f64, 1.0, shape, &Device::Cpu)?.to_dtype(dtype)?)
            };
            let (x, w, b) = (random(&[5, 9])?, random(&[9])?, random(&[9])?);
            for center in [Center::Mean, Center::Zero] {
                for bias in [None, Some(b.as_tensor())] {
                    let kernel = normalize_rows(&x, &w, bias, 1e-5, center)?;
                    let composed = compose(&x, &w, bias, 1e-5, center)?;
                    assert!(off(&kernel, &composed)? < tolerance);
                    let kernel = kernel.sqr()?.mean_all()?.backward()?;
                    let composed = composed.sqr()?.mean_all()?.backward()?;
                    for var in [&x, &w, &b] {
                        match (kernel.get(var), composed.get(var)) {
                            (Some(k), Some(c)) => assert!(off(k, c)? < tolerance),
                            (k, c) => assert!(k.is_none() && c.is_none() && bias.is_none()),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn off(a: &Tensor, b: &Tensor) -> Result<f64> {
        (a.to_dtype(DType::F64)? - b.to_dtype(DType::F64)?)?.abs()?.max_all()?.to_scalar()
    }
}
