//! Plane normalisation as an operation of candle's graph.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Tensor, WithDType};

use super::{Affine, tensors, three};
use crate::kernel::by_element;
use crate::kernel::norm::by_planes::ByPlanes;
use crate::kernel::slices::{read, with2, with3};
use crate::nn::ops::operation::{Operand, Operation};
use crate::nn::record::{self, Work};

const NAME: &str = "normalize-planes";

/// Normalises an input `[batch, channels, ..]` on the CPU, with or without a weight and a bias.
pub(super) fn apply(by: ByPlanes, x: &Tensor, affine: Affine<'_>) -> Result<Tensor> {
    match affine {
        None => record::apply([x], Work::Elements, PlaneNorm(by)),
        Some((weight, bias)) => record::apply([x, weight, bias], Work::Elements, PlaneNorm(by)),
    }
}

struct PlaneNorm(ByPlanes);

/// The operands are an input and, if there are three, a weight and a bias.
impl<const N: usize> Operation<N> for PlaneNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; N]) -> Result<CpuStorage> {
        let (x, layout) = operands[0];
        by_element!(x.dtype(), NAME, T => {
            let channels =
                |place| operands.get(place).map(|&(s, l)| read::<T>(s, l)).transpose();
            let (x, weight, bias) = (read::<T>(x, layout)?, channels(1)?, channels(2)?);
            Ok(T::to_cpu_storage_owned(self.0.forward(&x, weight.as_deref(), bias.as_deref())))
        })
    }

    fn gradients(
        &self,
        operands: [&Tensor; N],
        _: &Tensor,
        grad: &Tensor,
        wanted: [bool; N],
    ) -> Result<[Option<Tensor>; N]> {
        let (x, wanted) = (operands[0], three(wanted));
        by_element!(x.dtype(), NAME, T => {
            let found = match operands.get(1) {
                None => with2([x, grad], |x: &[T], grad: &[T]| {
                    Ok(self.0.backward(x, None, grad, wanted))
                }),
                Some(weight) => with3([x, weight, grad], |x: &[T], weight: &[T], grad: &[T]| {
                    Ok(self.0.backward(x, Some(weight), grad, wanted))
                }),
            };
            tensors(found?, operands)
        })
    }
}
