//! What stand-ins hold: tensors that candle's graph does not show.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::slice::from_ref;

use candle_core::{Tensor, TensorId};

use crate::kernel::{StorageId, bytes_of};

/// For stand-ins the storages that each holds until its backward, and their bytes.
pub(crate) type Held = HashMap<TensorId, Vec<(StorageId, usize)>>;

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// Runs `run` and returns what the stand-ins hold that it makes, or goes back through, on this thread.
pub(crate) fn held<R>(run: impl FnOnce() -> R) -> (R, Held) {
    /// Restores the previous notes, also after a panic.
    struct Outer(Option<Held>);
    impl Drop for Outer {
        fn drop(&mut self) {
            HELD.set(self.0.take());
        }
    }
    let outer = Outer(HELD.replace(Some(Held::new())));
    let result = run();
    let held = HELD.take().unwrap_or_default();
    drop(outer);
    (result, held)
}

/// The bytes of what the graph of the outputs holds, they among it and variables not; of a stand-in those of what its
/// backward reads.
pub(crate) fn kept(outputs: &[Tensor], held: &Held) -> usize {
    let (mut all, mut variables) = (HashMap::<StorageId, usize>::new(), HashSet::new());
    for node in outputs.iter().flat_map(Tensor::sorted_nodes) {
        let own = (StorageId::of(node), bytes_of(node));
        if node.is_variable() {
            variables.insert(own.0);
            continue;
        }
        for &(storage, bytes) in held.get(&node.id()).map_or(from_ref(&own), Vec::as_slice) {
            let most = all.entry(storage).or_default();
            *most = bytes.max(*most);
        }
    }
    let own = all.into_iter().filter(|(storage, _)| !variables.contains(storage));
    own.map(|(_, bytes)| bytes).sum()
}

/// Notes what `stand_in` holds, if that is asked for.
pub(super) fn note<'a>(stand_in: &Tensor, tensors: impl Iterator<Item = &'a Tensor>) {
    HELD.with_borrow_mut(|held| {
        if let Some(held) = held {
            let all = tensors.map(|tensor| (StorageId::of(tensor), bytes_of(tensor))).collect();
            held.insert(stand_in.id(), all);
        }
    });
}
