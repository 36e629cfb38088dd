//! Memory for gradients of variables that is kept from one backward pass to the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Tensor};

use crate::kernel::StorageId;

/// A handle to the buffers, which clones share.
///
/// After [`give_back_all`](Self::give_back_all) gradients in buffers are overwritten, so the caller
/// must make sure that no such gradient is still held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Buffer>>>);

#[derive(Debug)]
struct Buffer {
    tensor: Tensor,
    lent: bool,
}

impl Buffers {
    /// A tensor on the CPU to write a gradient to: a free one of this shape, or a new one.
    pub(super) fn lend(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let mut buffers = self.lock();
        let fits = |buffer: &&mut Buffer| {
            let Buffer { tensor, lent } = &**buffer;
            !lent && tensor.dims() == shape && tensor.dtype() == dtype
        };
        if let Some(free) = buffers.iter_mut().find(fits) {
            free.lent = true;
            return Ok(free.tensor.clone());
        }
        let tensor = Tensor::zeros(shape, dtype, &Device::Cpu)?;
        buffers.push(Buffer { tensor: tensor.clone(), lent: true });
        Ok(tensor)
    }

    /// Frees the buffer that holds a gradient, if one does.
    pub(crate) fn give_back(&self, gradient: &Tensor) {
        let storage = StorageId::of(gradient);
        let mut buffers = self.lock();
        let own = buffers.iter_mut().find(|buffer| StorageId::of(&buffer.tensor) == storage);
        own.into_iter().for_each(|buffer| buffer.lent = false);
    }

    /// Gives up the buffer that holds a gradient, so that the gradient stays valid.
    pub(super) fn give_away(&self, gradient: &Tensor) {
        let storage = StorageId::of(gradient);
        self.lock().retain(|buffer| StorageId::of(&buffer.tensor) != storage);
    }

    /// Frees all buffers.
    pub(crate) fn give_back_all(&self) {
        self.lock().iter_mut().for_each(|buffer| buffer.lent = false);
    }

    /// Frees the memory itself.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Buffer>> {
        // Buffers are always consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
