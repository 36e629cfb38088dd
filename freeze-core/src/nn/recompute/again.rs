//! Whether a forward runs for the second time.

use std::cell::Cell;

thread_local! {
    static AGAIN: Cell<bool> = const { Cell::new(false) };
}

/// Whether the forward under way on this thread is one that has run before: what a forward changes, it
/// has changed.
pub(crate) fn is_again() -> bool {
    AGAIN.get()
}

/// Runs `run` as a forward that has run before.
pub(super) fn again<R>(run: impl FnOnce() -> R) -> R {
    /// Puts back what was there before, after a panic too.
    struct Outer(bool);
    impl Drop for Outer {
        fn drop(&mut self) {
            AGAIN.set(self.0);
        }
    }
    let _outer = Outer(AGAIN.replace(true));
    run()
}
