//! Tells backward passes apart that run at the same time.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};

/// A backward pass. Passes through one graph run beside each other on several threads, and within each other on
/// one, where a stage runs its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::nn) struct Pass {
    thread: ThreadId,
    number: u64,
}

thread_local! {
    /// The number of the innermost pass on this thread.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

impl Pass {
    /// The innermost pass on this thread. Those that candle began are one, because it does not say when they begin.
    pub(in crate::nn) fn now() -> Self {
        Self { thread: thread::current().id(), number: NUMBER.get() }
    }

    /// Runs `run` as a pass that is equal to no other.
    pub(in crate::nn) fn begin<R>(run: impl FnOnce() -> R) -> R {
        static LAST: AtomicU64 = AtomicU64::new(0);
        /// Restores the previous number, also after a panic.
        struct Outer(u64);
        impl Drop for Outer {
            fn drop(&mut self) {
                NUMBER.set(self.0);
            }
        }
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let _outer = Outer(NUMBER.replace(number));
        run()
    }
}
