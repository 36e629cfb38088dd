//! The nodes that a recomputed stage leaves in candle's graph.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendDevice;
use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Tensor, bail};

use crate::nn::ops::node::Operands;
use crate::nn::ops::operation::{Operand, Operation, Stored};

/// The gradient of an operand, which is handed over detached.
pub(super) type Gradient = Box<dyn Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync>;

/// A result of the stage and its gradient, which is whole.
pub(super) struct Arrived {
    pub(super) y: Tensor,
    pub(super) grad: Tensor,
}

/// Takes what arrived.
pub(super) type Arrive = Box<dyn Fn(Arrived) + Send + Sync>;

/// The end of a chain of [`link`]s.
pub(super) fn end(device: &Device) -> Result<Tensor> {
    Tensor::zeros((), DType::F32, device)
}

/// One more operand on a `chain`: a number without a meaning, whose backward gives the operand the
/// gradient that `gradient` says.
pub(super) fn link(chain: &Tensor, operand: &Tensor, gradient: Gradient) -> Result<Tensor> {
    [chain, operand].apply(Arc::new(Link { gradient }))
}

/// A tensor like `y`, which the backward comes to before it comes to `chain`.
pub(super) fn outlet(chain: &Tensor, y: Tensor, arrive: Arrive) -> Result<Tensor> {
    let shape = y.shape().clone();
    [chain].apply(Arc::new(Outlet { shape, ready: Mutex::new(Some(y)), arrive }))
}

struct Link {
    gradient: Gradient,
}

impl Operation<2> for Link {
    fn name(&self) -> &'static str {
        "recompute-operand"
    }

    fn shape(&self, _: [&Layout; 2]) -> Result<Shape> {
        Ok(().into())
    }

    fn cpu(&self, _: [Operand<'_, CpuStorage>; 2]) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(vec![0.0]))
    }

    fn portable<S: Stored>(&self, [(chain, _), _]: [Operand<'_, S>; 2]) -> Result<S> {
        chain.device().zeros_impl(&().into(), DType::F32)
    }

    fn gradients(
        &self,
        [_, operand]: [&Tensor; 2],
        _: &Tensor,
        grad: &Tensor,
        [is_middle, _]: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        // The number's own gradient says nothing, but candle wants one.
        Ok([is_middle.then(|| grad.clone()), (self.gradient)(operand)?])
    }
}

struct Outlet {
    shape: Shape,
    /// Taken by the forward.
    ready: Mutex<Option<Tensor>>,
    arrive: Arrive,
}

impl Operation<1> for Outlet {
    fn name(&self) -> &'static str {
        "recompute-result"
    }

    fn shape(&self, _: [&Layout; 1]) -> Result<Shape> {
        Ok(self.shape.clone())
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; 1]) -> Result<CpuStorage> {
        self.portable(operands)
    }

    /// A copy: candle has no way to take a storage out of a tensor.
    fn portable<S: Stored>(&self, _: [Operand<'_, S>; 1]) -> Result<S> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        let elsewhere = "recompute: what flows in and out is on different devices; move it to one";
        let Some(ready) = ready else { bail!("{elsewhere}") };
        let (storage, layout) = ready.storage_and_layout();
        let Some(storage) = S::of(&storage) else { bail!("{elsewhere}") };
        let mut copy = storage.device().zeros_impl(layout.shape(), storage.dtype())?;
        storage.copy_strided_src(&mut copy, 0, layout)?;
        Ok(copy)
    }

    fn gradients(
        &self,
        [chain]: [&Tensor; 1],
        y: &Tensor,
        grad: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        (self.arrive)(Arrived { y: y.detach(), grad: grad.clone() });
        Ok([Some(chain.clone())])
    }
}
