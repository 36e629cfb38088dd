//! The identity of a tensor's storage, and of its elements.

use std::ops::Deref;

use candle_core::{Storage, Tensor};

/// Identifies a storage: a tensor, its views and its detached copies share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StorageId(usize);

impl StorageId {
    pub(crate) fn of(tensor: &Tensor) -> Self {
        Self(std::ptr::from_ref(&*tensor.storage_and_layout().0).addr())
    }
}

/// The storages of some tensors, held for reading: each once, since a second reading at a time waits for a writer that
/// waits for the end of the first.
pub(crate) struct Reading<G, const N: usize> {
    /// Of those that come first with their storage.
    held: [Option<G>; N],
    /// For each tensor the place of that one.
    firsts: [usize; N],
}

/// Holds the storages until the result is dropped.
pub(crate) fn reading<'t, const N: usize>(
    tensors: [&'t Tensor; N],
) -> Reading<impl Deref<Target = Storage> + use<'t, N>, N> {
    let firsts = firsts(tensors);
    let held = std::array::from_fn(|place| {
        (firsts[place] == place).then(|| tensors[place].storage_and_layout().0)
    });
    Reading { held, firsts }
}

impl<G: Deref<Target = Storage>, const N: usize> Reading<G, N> {
    /// The storage of each tensor.
    pub(crate) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.firsts.iter().filter_map(|first| self.held[*first].as_deref())
    }
}

/// For each tensor the place of the first one with its storage.
fn firsts<const N: usize>(tensors: [&Tensor; N]) -> [usize; N] {
    if N == 1 {
        return [0; N];
    }
    let ids = tensors.map(StorageId::of);
    std::array::from_fn(|place| ids.iter().position(|id| *id == ids[place]).unwrap_or(place))
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
