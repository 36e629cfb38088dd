//! Operations that time a part of their backward.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{CpuStorage, CudaStorage, Layout, MetalStorage, Result, Shape, Tensor};

use super::{Backward, Part, edit, time};
use crate::nn::ops::operation::{AnyOperation, Operand, Reads};

/// An operation, the call that it is recorded as, and the part that is timed.
pub(crate) struct Recorded<const N: usize> {
    pub(super) op: Arc<dyn AnyOperation<N>>,
    pub(super) call: usize,
    pub(super) part: Part,
    /// How many of the operands are inputs; the others are weights.
    pub(super) inputs: usize,
}

impl<const N: usize> AnyOperation<N> for Recorded<N> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn shape(&self, operands: [&Layout; N]) -> Result<Shape> {
        self.op.shape(operands)
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; N]) -> Result<CpuStorage> {
        self.op.cpu(operands)
    }

    fn cuda(&self, operands: [Operand<'_, CudaStorage>; N]) -> Result<CudaStorage> {
        self.op.cuda(operands)
    }

    fn metal(&self, operands: [Operand<'_, MetalStorage>; N]) -> Result<MetalStorage> {
        self.op.metal(operands)
    }

    fn reads(&self, wanted: [bool; N]) -> Reads<N> {
        self.op.reads(wanted)
    }

    /// Runs the backward, with the timed part first, records the times, and returns the gradients.
    ///
    /// The part runs first, and no other in that round, so that its operands are as cold in the
    /// cache as in a real step.
    fn gradients(
        &self,
        operands: [&Tensor; N],
        y: &Tensor,
        grad: &Tensor,
        wanted: [bool; N],
    ) -> Result<[Option<Tensor>; N]> {
        let device = grad.device();
        device.synchronize()?;
        let mut taken = Backward::default();
        let gradients = |wanted| self.op.gradients(operands, y, grad, wanted);
        let input = std::array::from_fn(|place| wanted[place] && place < self.inputs);
        let weights = std::array::from_fn(|place| wanted[place] && place >= self.inputs);
        let both = input.contains(&true) && weights.contains(&true);
        let alone = |wanted| Ok::<_, candle_core::Error>(time(device, || gradients(wanted))?.1);
        match self.part {
            Part::Input if both => taken.input = Some(alone(input)?),
            Part::Weight if both => taken.weight = Some(alone(weights)?),
            _ => {}
        }
        let start = Instant::now();
        let found = gradients(wanted)?;
        device.synchronize()?;
        if self.part == Part::Whole {
            taken.span = Some((start, Instant::now()));
        }
        edit(self.call, |call| call.backward = taken);
        Ok(found)
    }
}
