//! Tracks whether a forward is a repetition.

use std::cell::Cell;

thread_local! {
    static AGAIN: Cell<bool> = const { Cell::new(false) };
}

/// Whether the current forward on this thread repeats an earlier one, so that it must not update
/// statistics again.
pub(crate) fn is_again() -> bool {
    AGAIN.get()
}

/// Runs `run` as a repeated forward.
pub(super) fn again<R>(run: impl FnOnce() -> R) -> R {
    /// Restores the previous value, also after a panic.
    struct Outer(bool);
    impl Drop for Outer {
        fn drop(&mut self) {
            AGAIN.set(self.0);
        }
    }
    let _outer = Outer(AGAIN.replace(true));
    run()
}
