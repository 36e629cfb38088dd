//! Tensors without elements.

use std::sync::Arc;

use candle_core::backend::BackendDevice;
use candle_core::{CpuStorage, Result, Tensor, backend::BackendStorage};

use super::node::Operands;
use super::operation::{Operand, Operation, Reads};

/// The result of any elementwise function of an empty tensor: a new tensor, because candle cannot
/// sum a view that begins after the end of its storage.
pub(crate) fn of_nothing(x: &Tensor) -> Result<Tensor> {
    [x].apply(Arc::new(OfNothing))
}

struct OfNothing;

impl Operation<1> for OfNothing {
    fn name(&self) -> &'static str {
        "of-nothing"
    }

    fn cpu(&self, [(x, layout)]: [Operand<'_, CpuStorage>; 1]) -> Result<CpuStorage> {
        x.device().zeros_impl(layout.shape(), x.dtype())
    }

    fn reads(&self, _: [bool; 1]) -> Reads<1> {
        Reads::NOTHING
    }

    fn gradients(
        &self,
        _: [&Tensor; 1],
        _: &Tensor,
        grad: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(grad.clone())])
    }
}
