//! What tensors store their values in.

use candle_core::Tensor;

/// Tells storages apart: a tensor, its views and what is detached from it share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StorageId(usize);

impl StorageId {
    pub(crate) fn of(tensor: &Tensor) -> Self {
        Self(std::ptr::from_ref(&*tensor.storage_and_layout().0).addr())
    }
}
