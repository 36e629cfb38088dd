//! Tells backward passes apart that run at the same time.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// A backward pass. Passes through one graph run beside each other on several threads, and within each other on
/// one, where a stage runs its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::nn) struct Pass {
    thread: ThreadId,
    number: u64,
    graph: Graph,
}

/// What becomes of the graph that a pass goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Graph {
    /// It stays for further passes.
    Retained,
    /// Each operation gives back what it holds as soon as it has computed its gradients.
    Released,
}

thread_local! {
    /// The innermost pass on this thread.
    static INNERMOST: Cell<(u64, Graph)> = const { Cell::new((0, Graph::Retained)) };
}

/// The numbers of the passes that have begun and not ended, on all threads.
fn under_way() -> MutexGuard<'static, BTreeSet<u64>> {
    static NUMBERS: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
    NUMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pass {
    /// The innermost pass on this thread. Those that candle began are one, because it does not say when they begin.
    pub(in crate::nn) fn now() -> Self {
        let (number, graph) = INNERMOST.get();
        Self { thread: thread::current().id(), number, graph }
    }

    pub(in crate::nn) fn releases(self) -> bool {
        self.graph == Graph::Released
    }

    /// Whether it has ended; of those that candle began this is not known.
    pub(in crate::nn) fn is_over(self) -> bool {
        self.number != 0 && !under_way().contains(&self.number)
    }

    /// Runs `run` as a pass that is equal to no other.
    pub(in crate::nn) fn begin<R>(graph: Graph, run: impl FnOnce() -> R) -> R {
        static LAST: AtomicU64 = AtomicU64::new(0);
        /// Restores the previous pass, also after a panic.
        struct Outer((u64, Graph));
        impl Drop for Outer {
            fn drop(&mut self) {
                under_way().remove(&INNERMOST.replace(self.0).0);
            }
        }
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        under_way().insert(number);
        let _outer = Outer(INNERMOST.replace((number, graph)));
        run()
    }
}
