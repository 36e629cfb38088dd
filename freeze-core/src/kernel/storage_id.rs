//! The identity of a tensor's storage, and of its elements.

use candle_core::Tensor;

/// Identifies a storage: a tensor, its views and its detached copies share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StorageId(usize);

impl StorageId {
    pub(crate) fn of(tensor: &Tensor) -> Self {
        Self(std::ptr::from_ref(&*tensor.storage_and_layout().0).addr())
    }
}

/// Identifies the elements of a tensor: a tensor and its detached copies share one, other parts of the same storage and
/// other views of them do not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ElementsId {
    storage: StorageId,
    start: usize,
    dims: Vec<usize>,
    strides: Vec<usize>,
}

impl ElementsId {
    pub(crate) fn of(tensor: &Tensor) -> Self {
        let (storage, layout) = (StorageId::of(tensor), tensor.layout());
        let (dims, strides) = (layout.dims().to_vec(), layout.stride().to_vec());
        Self { storage, start: layout.start_offset(), dims, strides }
    }
}
