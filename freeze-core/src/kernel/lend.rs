//! Lends work to other threads while the caller waits, so that the work may borrow, unlike with
//! rayon's `spawn`.
//!
//! While it waits, a caller never runs unrelated work, as it would in rayon's `install` and `join`.
//! So it may hold a lock, as long as the lent work takes none.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};

use rayon::ThreadPool;

/// Calls `work` here and, at the same time, on up to `helpers` idle threads of the pool. Returns
/// when all calls have returned.
///
/// # Panics
///
/// A call has panicked; all others have returned.
pub(crate) fn share(pool: &ThreadPool, helpers: usize, work: &(dyn Fn() + Sync)) {
    let loan = Loan::new(work, 0);
    // Also if the call here panics.
    let returned = Returned { loan: &loan, looks: LOOKS };
    for _ in 0..helpers {
        let loan = loan.clone();
        pool.spawn(move || {
            if loan.enter() {
                loan.run();
            }
        });
    }
    work();
    drop(returned);
    loan.resume_panic();
}

/// Calls `work` on a thread of the pool, on which rayon's loops stay within the pool, and returns its
/// result.
///
/// # Panics
///
/// `work` has panicked.
pub(crate) fn hand_over(pool: &ThreadPool, work: &(dyn Fn() + Sync)) {
    let loan = Loan::new(work, CLOSED | 1);
    // The threads of the pool need all processors.
    let returned = Returned { loan: &loan, looks: 0 };
    let lent = loan.clone();
    pool.spawn(move || lent.run());
    drop(returned);
    loan.resume_panic();
}

/// Set in a loan's state once no thread may enter any more; the other bits count the threads
/// inside.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// How often a caller that has taken part in the work polls before it sleeps: about as long as one
/// piece takes.
const LOOKS: usize = 1 << 10;

struct Loan {
    /// Called only between entering and leaving.
    work: *const (dyn Fn() + Sync),
    state: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    caller: Thread,
}

// SAFETY: `work` points to what is `Sync`, and is looked at only while its owner waits.
#[allow(unsafe_code)]
unsafe impl Send for Loan {}
// SAFETY: as for `Send`.
#[allow(unsafe_code)]
unsafe impl Sync for Loan {}

impl Loan {
    #[allow(unsafe_code)]
    fn new(work: &(dyn Fn() + Sync), state: usize) -> Arc<Self> {
        // SAFETY: this forgets how long the work lives. It is called only by those who entered, and
        // whoever makes a loan stays, by `Returned`, until it is closed and all have left.
        let work = unsafe {
            std::mem::transmute::<*const (dyn Fn() + Sync + '_), *const (dyn Fn() + Sync)>(work)
        };
        let (panic, caller) = (Mutex::new(None), thread::current());
        Arc::new(Self { work, state: AtomicUsize::new(state), panic, caller })
    }

    /// Counts the calling thread as inside and returns true, unless the loan is closed.
    fn enter(&self) -> bool {
        let enter = |state| (state & CLOSED == 0).then_some(state + 1);
        self.state.fetch_update(AcqRel, Acquire, enter).is_ok()
    }

    /// Calls the work and leaves. Only for threads that have entered.
    #[allow(unsafe_code)]
    fn run(&self) {
        // SAFETY: the calling thread is counted in `state`, so the owner of the work still waits.
        let work = unsafe { &*self.work };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
        if self.state.fetch_sub(1, AcqRel) == CLOSED + 1 {
            self.caller.unpark();
        }
    }

    fn is_returned(&self) -> bool {
        self.state.load(Acquire) == CLOSED
    }

    fn resume_panic(&self) {
        let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

/// Closes the loan when dropped and waits until all have left.
struct Returned<'a> {
    loan: &'a Loan,
    /// How often it polls before it sleeps.
    looks: usize,
}

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        self.loan.state.fetch_or(CLOSED, AcqRel);
        for _ in 0..self.looks {
            if self.loan.is_returned() {
                return;
            }
            std::hint::spin_loop();
        }
        while !self.loan.is_returned() {
            thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn pool() -> ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads")
    }

    #[test]
    fn a_panic_arrives_at_the_caller_after_all_others_have_left() {
        let (pool, inside) = (pool(), AtomicUsize::new(0));
        for panicking in [0, 1, 2] {
            let calls = AtomicUsize::new(0);
            let work = || {
                inside.fetch_add(1, AcqRel);
                let call = calls.fetch_add(1, AcqRel);
                thread::sleep(std::time::Duration::from_millis(5));
                inside.fetch_sub(1, AcqRel);
                assert_ne!(call, panicking, "on purpose");
            };
            let panicked = catch_unwind(AssertUnwindSafe(|| share(&pool, 2, &work))).is_err();
            assert_eq!(panicked, calls.load(Acquire) > panicking);
            assert_eq!(inside.load(Acquire), 0);
            let panicked = catch_unwind(AssertUnwindSafe(|| hand_over(&pool, &|| panic!("too"))));
            assert!(panicked.is_err());
        }
    }

    #[test]
    fn a_caller_needs_nobody_and_takes_up_nothing_foreign() {
        let pool = pool();
        let foreign = &AtomicUsize::new(0);
        let (free, blocked) = std::sync::mpsc::channel::<()>();
        let blocked = Arc::new(Mutex::new(blocked));
        for _ in 0..3 {
            let blocked = blocked.clone();
            pool.spawn(move || drop(blocked.lock().map(|blocked| blocked.recv())));
        }
        let callers = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        callers.scope(|scope| {
            let count = |counter: &AtomicUsize| {
                counter.fetch_add(1, AcqRel);
            };
            scope.spawn(move |_| count(foreign));
            let calls = AtomicUsize::new(0);
            share(&pool, 3, &|| count(&calls));
            assert_eq!((calls.into_inner(), foreign.load(Acquire)), (1, 0));
        });
        drop(free);
        assert_eq!(foreign.load(Acquire), 1);
    }
}
