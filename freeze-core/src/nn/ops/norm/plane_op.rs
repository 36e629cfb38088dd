//! Plane normalisation as an operation of candle's graph.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Tensor, WithDType};

use super::{Affine, of_operands, plane_sum_op, tensors, three};
use crate::kernel::by_element;
use crate::kernel::norm::by_planes::ByPlanes;
use crate::kernel::slices::{read, with2};
use crate::nn::ops::operation::{Operand, Operation, Reads};
use crate::nn::record::{self, Work};

const NAME: &str = "normalize-planes";

/// What is done with the normalised elements in the same pass.
#[derive(Clone, Copy)]
pub(in crate::nn) enum Then<'a> {
    Nothing,
    Relu,
    /// A tensor of the input's shape is added, and the sum rectified.
    AddRelu(&'a Tensor),
}

/// Normalises an input `[batch, channels, ..]` on the CPU, with or without a weight and a bias.
pub(super) fn apply(
    by: ByPlanes,
    x: &Tensor,
    affine: Affine<'_>,
    then: Then<'_>,
) -> Result<Tensor> {
    let rectifies = match then {
        Then::Nothing => false,
        Then::Relu => true,
        Then::AddRelu(residual) => return plane_sum_op::apply(by, x, residual, affine),
    };
    let op = PlaneNorm { by, rectifies };
    match affine {
        None => record::apply([x], Work::Elements, op),
        Some((weight, bias)) => record::apply([x, weight, bias], Work::Elements, op),
    }
}

struct PlaneNorm {
    by: ByPlanes,
    rectifies: bool,
}

/// The operands are an input and, if there are three, a weight and a bias.
impl<const N: usize> Operation<N> for PlaneNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; N]) -> Result<CpuStorage> {
        self.forward(&operands)
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
        self.backward(&operands, grad, three(&wanted)).map(of_operands)
    }
}

impl PlaneNorm {
    fn forward(&self, operands: &[Operand<'_, CpuStorage>]) -> Result<CpuStorage> {
        let (x, layout) = operands[0];
        by_element!(x.dtype(), NAME, T => {
            let channels =
                |place| operands.get(place).map(|&(s, l)| read::<T>(s, l)).transpose();
            let (x, weight, bias) = (read::<T>(x, layout)?, channels(1)?, channels(2)?);
            let affine = [weight.as_deref(), bias.as_deref()];
            Ok(T::to_cpu_storage_owned(match self.rectifies {
                false => self.by.forward(&x, affine),
                true => self.by.forward_relu(&x, affine),
            }))
        })
    }

    fn backward(
        &self,
        operands: &[&Tensor],
        grad: &Tensor,
        wanted: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let x = operands[0];
        by_element!(x.dtype(), NAME, T => {
            let run = |x: &[T], affine: [Option<&[T]>; 2], grad: &[T]| match self.rectifies {
                false => self.by.backward(x, affine, grad, wanted),
                true => self.by.backward_relu(x, affine, grad, wanted),
            };
            let found = match (operands.get(1), operands.get(2)) {
                (Some(weight), Some(bias)) => with2([weight, bias], |w: &[T], b: &[T]| {
                    with2([x, grad], |x: &[T], grad: &[T]| run(x, [Some(w), Some(b)], grad))
                }),
                _ => with2([x, grad], |x: &[T], grad: &[T]| run(x, [None; 2], grad)),
            };
            tensors(found?, operands)
        })
    }
}
