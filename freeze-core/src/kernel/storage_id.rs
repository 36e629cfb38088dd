//! The identity of a tensor's storage.

use candle_core::Tensor;

/// Identifies a storage: a tensor, its views and its detached copies share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StorageId(usize);

impl StorageId {
    pub(crate) fn of(tensor: &Tensor) -> Self {
        Self(std::ptr::from_ref(&*tensor.storage_and_layout().0).addr())
    }
}
