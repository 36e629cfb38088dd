//! The node that holds an operation's result, behind its stand-in.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, TensorId, bail};

use super::links::{self, Inbox};

/// The elements of a result, which hang on its stand-in.
pub(super) struct Elements {
    /// Taken by the forward.
    pub(super) computed: Mutex<Option<(Computed, Shape)>>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) id: Arc<OnceLock<TensorId>>,
    /// The node that this hangs on.
    pub(super) stand_in: Tensor,
}

/// The elements of a result, where they lie.
pub(super) enum Computed {
    Here(CpuStorage),
    #[cfg(feature = "cuda")]
    OnCard(CudaStorage),
}

impl CustomOp1 for Elements {
    fn name(&self) -> &'static str {
        "elements"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match self.taken() {
            Some((Computed::Here(elements), shape)) => Ok((elements, shape)),
            _ => bail!("the elements of a result are taken once"),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        match self.taken() {
            Some((Computed::OnCard(elements), shape)) => Ok((elements, shape)),
            _ => bail!("the elements of a result are taken once"),
        }
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.inbox.put((y.id(), 0), grad, &self.stand_in).map(Some)
    }
}

impl Elements {
    fn taken(&self) -> Option<(Computed, Shape)> {
        self.computed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Elements {
    fn drop(&mut self) {
        if let Some(id) = self.id.get() {
            links::remove(*id);
        }
    }
}
