//! The cross-entropy as an operation of candle's graph.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, D, DType, Device, Layout, Result, Shape, Tensor, WithDType};

use crate::kernel::cross_entropy::{self as kernel, Shares};
use crate::kernel::slices::{read, with};
use crate::kernel::{Element, by_element, internal_dtype};
use crate::nn::ops::operation::{Operand, Operation, Reads};

const NAME: &str = "cross-entropy";

/// Of logits.
pub(super) struct Op {
    targets: Vec<Option<u32>>,
    shares: Shares,
    /// By which the sum is divided.
    total: f64,
    /// For every row the largest logit and the sum of `exp(logit - largest)`: computed by the
    /// forward, used by the backward.
    rows: OnceLock<Vec<[f64; 2]>>,
}

impl Op {
    pub(super) fn new(targets: Vec<Option<u32>>, shares: Shares, total: f64) -> Self {
        Self { targets, shares, total, rows: OnceLock::new() }
    }

    /// The same in candle's operations, for other devices.
    pub(super) fn compose(&self, logits: &Tensor) -> Result<Tensor> {
        let device = logits.device();
        let dtype = internal_dtype(logits.dtype());
        let wide = logits.to_dtype(dtype)?;
        let logs = candle_nn::ops::log_softmax(&wide, D::Minus1)?;
        let logs = logs.reshape((self.targets.len(), ()))?;
        let rows = (0u32..).zip(&self.targets).filter_map(|(row, &target)| Some((row, target?)));
        let (rows, classes): (Vec<u32>, Vec<u32>) = rows.unzip();
        // Metal has no F64.
        let vector = |values: Vec<f64>| {
            Tensor::new(values, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
        };
        let own = vector(classes.iter().map(|&class| self.shares.own(class)).collect())?;
        let logs = logs.index_select(&Tensor::new(rows, device)?, 0)?;
        let classes = Tensor::new(classes, device)?.unsqueeze(1)?;
        let mut sum = (logs.gather(&classes, 1)?.squeeze(1)? * own)?.sum_all()?;
        if !self.shares.all.is_empty() {
            let all = vector(self.shares.all.clone())?;
            sum = (sum + logs.broadcast_mul(&all)?.sum_all()?)?;
        }
        sum.affine(-1. / self.total, 0.)
    }
}

impl Operation<1> for Op {
    fn name(&self) -> &'static str {
        NAME
    }

    fn shape(&self, _: [&Layout; 1]) -> Result<Shape> {
        Ok(Shape::from(()))
    }

    fn cpu(&self, [(x, layout)]: [Operand<'_, CpuStorage>; 1]) -> Result<CpuStorage> {
        let classes = layout.dims().last().copied().unwrap_or(1);
        by_element!(x.dtype(), NAME, T => {
            let x = read::<T>(x, layout)?;
            let (sum, rows) = kernel::forward(&x, classes, &self.targets, &self.shares);
            // Set once: an operation runs forward once.
            let _ = self.rows.set(rows);
            let loss = <T as Element>::Real::from_f64(sum / self.total);
            Ok(WithDType::to_cpu_storage_owned(vec![loss]))
        })
    }

    fn reads(&self, _: [bool; 1]) -> Reads<1> {
        Reads::OPERANDS
    }

    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        _: &Tensor,
        grad: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        let factor = grad.to_dtype(DType::F64)?.to_scalar::<f64>()? / self.total;
        let (classes, targets) = (x.dim(D::Minus1)?, &self.targets);
        let rows = self.rows.get().map_or(&[] as &[_], Vec::as_slice);
        by_element!(x.dtype(), NAME, T => {
            let dx = with(x, |x: &[T]| {
                Ok(kernel::backward(x, classes, targets, &self.shares, rows, factor))
            })?;
            Ok([Some(Tensor::from_vec(dx, x.shape(), &Device::Cpu)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::nn::record::{self, Work};

    #[test]
    fn the_composition_agrees_with_the_kernel() -> Result<()> {
        let x = Var::randn(0f64, 3.0, (5, 7), &Device::Cpu)?;
        let targets = [Some(6), Some(0), None, Some(3), Some(3)];
        let some: Vec<f64> = (0..7).map(|class| 0.1 * f64::from(class)).collect();
        for (own, all) in [(vec![], vec![]), (some.clone(), vec![]), (some.clone(), some)] {
            let op = || {
                let shares = Shares { own: own.clone(), all: all.clone() };
                Op::new(targets.to_vec(), shares, 2.5)
            };
            let composed = op().compose(&x)?;
            let kernel = record::apply([x.as_tensor()], Work::Elements, op())?;
            let off = (kernel.to_scalar::<f64>()? - composed.to_scalar::<f64>()?).abs();
            assert!(off < 1e-13, "{off:e}");
            let slopes = |loss: Tensor| -> Result<Option<Vec<f64>>> {
                loss.backward()?.get(&x).map(|grad| grad.flatten_all()?.to_vec1()).transpose()
            };
            let (kernel, composed) = (slopes(kernel)?, slopes(composed)?);
            let pairs = kernel.iter().flatten().zip(composed.iter().flatten());
            assert_eq!(pairs.clone().count(), 35);
            assert!(pairs.into_iter().all(|(k, c)| (k - c).abs() < 1e-13));
        }
        Ok(())
    }
}
