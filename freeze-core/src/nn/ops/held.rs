//! What stand-ins hold: results that candle's graph does not show.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::{Tensor, TensorId};

use crate::kernel::{StorageId, bytes_of};

/// For stand-ins the storage of the result that each holds, and its bytes.
pub(crate) type Held = HashMap<TensorId, (StorageId, usize)>;

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// Runs `run` and returns what the stand-ins hold that it makes on this thread.
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

/// Notes that `stand_in` holds `result`, if that is asked for.
pub(super) fn note(stand_in: &Tensor, result: &Tensor) {
    HELD.with_borrow_mut(|held| {
        if let Some(held) = held {
            held.insert(stand_in.id(), (StorageId::of(result), bytes_of(result)));
        }
    });
}
