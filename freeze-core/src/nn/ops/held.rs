//! What stand-ins hold: results that candle's graph does not show.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use candle_core::{Tensor, TensorId};

use crate::kernel::{StorageId, bytes_of};

/// For stand-ins the storage of the result that each holds, and its bytes.
pub(crate) type Held = HashMap<TensorId, (StorageId, usize)>;

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

/// The bytes of what the graph holds between variables and outputs; of a stand-in those of its result, which it
/// holds.
pub(crate) fn kept(outputs: &[Tensor], held: &Held) -> usize {
    let (mut all, mut variables) = (HashMap::<StorageId, usize>::new(), HashSet::new());
    for node in outputs.iter().flat_map(Tensor::sorted_nodes) {
        let own = || (StorageId::of(node), bytes_of(node));
        let (storage, bytes) = held.get(&node.id()).copied().unwrap_or_else(own);
        match node.is_variable() {
            true => drop(variables.insert(storage)),
            false => {
                let most = all.entry(storage).or_default();
                *most = bytes.max(*most);
            }
        }
    }
    let own = all.into_iter().filter(|(storage, _)| !variables.contains(storage));
    own.map(|(_, bytes)| bytes).sum()
}

/// Notes that `stand_in` holds `result`, if that is asked for.
pub(super) fn note(stand_in: &Tensor, result: &Tensor) {
    HELD.with_borrow_mut(|held| {
        if let Some(held) = held {
            held.insert(stand_in.id(), (StorageId::of(result), bytes_of(result)));
        }
    });
}
