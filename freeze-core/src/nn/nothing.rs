//! Tensors without elements.

use candle_core::backend::BackendDevice;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::ops::device::{Stored, accelerators1};

/// What any function of each element makes of a tensor that has none: a tensor of its own, since
/// candle cannot sum up a view that begins behind the end of its storage.
pub(crate) fn of_nothing(x: &Tensor) -> Result<Tensor> {
    x.apply_op1(OfNothing)
}

struct OfNothing;

impl OfNothing {
    fn forward<S: Stored>(&self, x: &S, layout: &Layout) -> Result<(S, Shape)> {
        Ok((x.device().zeros_impl(layout.shape(), x.dtype())?, layout.shape().clone()))
    }
}

impl CustomOp1 for OfNothing {
    fn name(&self) -> &'static str {
        "of-nothing"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(x, layout)
    }

    accelerators1!(Self::forward);

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.clone()))
    }
}
