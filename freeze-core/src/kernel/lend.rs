//! Lends work to other threads while the caller takes part in it, so that the work may borrow, unlike
//! with rayon's `spawn`.
//!
//! While it waits, a caller never runs unrelated work, as it would in rayon's `install` and `join`.
//! So it may hold a lock, as long as the lent work takes none.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};

use super::patience::soon;

/// Calls `work` here, and has `offer` show it to other threads, which may take part at the same time.
/// Returns when all calls have returned; who comes later does not take part any more. It waits without sleep for a while
/// if that is `worthwhile`.
///
/// # Panics
///
/// A call has panicked; all others have returned.
pub(crate) fn share(
    work: &(dyn Fn() + Sync),
    offer: impl FnOnce(&Arc<Loan>),
    worthwhile: impl Fn() -> bool,
) {
    let loan = Loan::new(work);
    // Also if the call here panics.
    let returned = Returned { loan: &loan, worthwhile };
    offer(&loan);
    work();
    drop(returned);
    loan.resume_panic();
}

/// Set in a loan's state once no thread may enter any more; the other bits count the threads
/// inside.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// Work that a caller shares.
pub(crate) struct Loan {
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
    fn new(work: &(dyn Fn() + Sync)) -> Arc<Self> {
        // SAFETY: this forgets how long the work lives. It is called only by those who entered, and
        // whoever makes a loan stays, by `Returned`, until it is closed and all have left.
        let work = unsafe {
            std::mem::transmute::<*const (dyn Fn() + Sync + '_), *const (dyn Fn() + Sync)>(work)
        };
        let (panic, caller) = (Mutex::new(None), thread::current());
        Arc::new(Self { work, state: AtomicUsize::new(0), panic, caller })
    }

    /// Calls the work, unless its caller has finished with it.
    pub(crate) fn take_part(&self) {
        let enter = |state| (state & CLOSED == 0).then_some(state + 1);
        if self.state.fetch_update(AcqRel, Acquire, enter).is_ok() {
            self.run();
        }
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
struct Returned<'a, F: Fn() -> bool> {
    loan: &'a Loan,
    worthwhile: F,
}

impl<F: Fn() -> bool> Drop for Returned<'_, F> {
    fn drop(&mut self) {
        let Self { loan, worthwhile } = self;
        loan.state.fetch_or(CLOSED, AcqRel);
        if soon(|| loan.is_returned(), &*worthwhile) {
            return;
        }
        while !loan.is_returned() {
            thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Has a new thread take part, and waits until it is inside.
    fn another(loan: &Arc<Loan>) {
        let theirs = loan.clone();
        thread::spawn(move || theirs.take_part());
        let begun = Instant::now();
        while loan.state.load(Acquire) == 0 && begun.elapsed() < Duration::from_secs(10) {
            thread::yield_now();
        }
    }

    #[test]
    fn a_panic_arrives_at_the_caller_after_all_others_have_left() {
        let inside = AtomicUsize::new(0);
        for panicking in [0, 1, 2] {
            let calls = AtomicUsize::new(0);
            let work = || {
                inside.fetch_add(1, AcqRel);
                let call = calls.fetch_add(1, AcqRel);
                thread::sleep(Duration::from_millis(20));
                inside.fetch_sub(1, AcqRel);
                assert_ne!(call, panicking, "on purpose");
            };
            let shared = catch_unwind(AssertUnwindSafe(|| share(&work, another, || true)));
            assert_eq!((shared.is_err(), calls.load(Acquire)), (panicking < 2, 2), "{panicking}");
            assert_eq!(inside.load(Acquire), 0);
        }
    }

    #[test]
    fn who_comes_too_late_takes_no_part() {
        let (calls, mut kept) = (AtomicUsize::new(0), None);
        let work = || {
            calls.fetch_add(1, AcqRel);
        };
        share(&work, |loan| kept = Some(loan.clone()), || false);
        kept.expect("the loan").take_part();
        assert_eq!(calls.into_inner(), 1);
    }
}
