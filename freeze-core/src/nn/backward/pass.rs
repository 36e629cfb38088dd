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

impl Pass {
    /// The innermost pass on this thread. Those that candle began are one, because it does not say when they begin.
    pub(in crate::nn) fn now() -> Self {
        let (number, graph) = INNERMOST.get();
        Self { thread: thread::current().id(), number, graph }
    }

    pub(in crate::nn) fn releases(self) -> bool {
        self.graph == Graph::Released
    }

    /// Runs `run` as a pass that is equal to no other.
    pub(in crate::nn) fn begin<R>(graph: Graph, run: impl FnOnce() -> R) -> R {
        static LAST: AtomicU64 = AtomicU64::new(0);
        /// Restores the previous pass, also after a panic.
        struct Outer((u64, Graph));
        impl Drop for Outer {
            fn drop(&mut self) {
                INNERMOST.set(self.0);
            }
        }
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let _outer = Outer(INNERMOST.replace((number, graph)));
        run()
    }
}
