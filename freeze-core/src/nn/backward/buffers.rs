//! Memory for gradients of variables that lives on from one backward pass to the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Tensor};

use crate::kernel::StorageId;

/// A handle to the buffers; clones are the same.
///
/// A gradient in a buffer is overwritten after [`give_back_all`](Self::give_back_all): whoever calls
/// that must know that nobody keeps such a gradient.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Buffer>>>);

#[derive(Debug)]
struct Buffer {
    tensor: Tensor,
    lent: bool,
}

impl Buffers {
    /// A tensor on the CPU to write a gradient to: a free one of that shape, or a new one.
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

    /// Frees the buffer that a gradient lies in, if it lies in one.
    pub(crate) fn give_back(&self, gradient: &Tensor) {
        let storage = StorageId::of(gradient);
        let mut buffers = self.lock();
        let own = buffers.iter_mut().find(|buffer| StorageId::of(&buffer.tensor) == storage);
        own.into_iter().for_each(|buffer| buffer.lent = false);
    }

    /// Leaves the buffer that a gradient lies in to whoever holds the gradient.
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
        // Each buffer is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
