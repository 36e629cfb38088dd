//! Threads that take part in what callers share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::lend::{self, Loan};
use super::patience::soon;

/// Threads that wait for work, started together. They live as long as the process.
pub(crate) struct Helpers {
    count: usize,
    board: Arc<Board>,
}

impl Helpers {
    /// Starts `count` threads, or as many as the system can start.
    pub(crate) fn start(name: &str, count: usize) -> Self {
        let board = Arc::new(Board::default());
        let start = |i: &usize| {
            let board = board.clone();
            let thread = thread::Builder::new().name(format!("{name}-{i}"));
            thread.spawn(move || board.help()).is_ok()
        };
        Self { count: (0..count).take_while(start).count(), board }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Calls `work` here and, at the same time, on up to `helpers` of the threads. Returns when all
    /// calls have returned.
    ///
    /// # Panics
    ///
    /// A call has panicked; all others have returned.
    pub(crate) fn share(&self, helpers: usize, work: &(dyn Fn() + Sync)) {
        let mut offer = None;
        lend::share(work, |loan| offer = Some(self.board.offer(loan, helpers)));
    }
}

/// What callers offer, for threads that look for work.
#[derive(Default)]
struct Board {
    posts: Mutex<Posts>,
    /// The number of places on offer, to look at without the lock.
    open: AtomicUsize,
    /// The number of threads that look at it.
    awake: AtomicUsize,
    news: Condvar,
}

#[derive(Default)]
struct Posts {
    /// A loan for each place.
    places: VecDeque<Arc<Loan>>,
    asleep: usize,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Posts> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers places of a loan until the result is dropped.
    fn offer<'a>(&'a self, loan: &Arc<Loan>, places: usize) -> Offer<'a> {
        let mut posts = self.lock();
        posts.places.extend((0..places).map(|_| loan.clone()));
        self.open.store(posts.places.len(), Ordering::Release);
        let wanted = places.saturating_sub(self.awake.load(Ordering::Relaxed)).min(posts.asleep);
        drop(posts);
        (0..wanted).for_each(|_| self.news.notify_one());
        Offer { board: self, loan: loan.clone() }
    }

    fn help(&self) {
        loop {
            self.next().take_part();
        }
    }

    /// Waits for a place, at first without sleep.
    fn next(&self) -> Arc<Loan> {
        self.awake.fetch_add(1, Ordering::Relaxed);
        loop {
            let news = soon(|| self.open.load(Ordering::Acquire) > 0);
            let mut posts = self.lock();
            if !news {
                self.awake.fetch_sub(1, Ordering::Relaxed);
                while posts.places.is_empty() {
                    posts.asleep += 1;
                    posts = self.news.wait(posts).unwrap_or_else(PoisonError::into_inner);
                    posts.asleep -= 1;
                }
                self.awake.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(loan) = posts.places.pop_front() {
                self.open.store(posts.places.len(), Ordering::Release);
                self.awake.fetch_sub(1, Ordering::Relaxed);
                return loan;
            }
        }
    }
}

/// Takes back the places that nobody took when dropped.
struct Offer<'a> {
    board: &'a Board,
    loan: Arc<Loan>,
}

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        let mut posts = self.board.lock();
        posts.places.retain(|place| !Arc::ptr_eq(place, &self.loan));
        self.board.open.store(posts.places.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    /// Whether so many threads were inside at a time, of those that a call with so many helpers has.
    fn together(helpers: &Helpers, wanted: usize, expected: usize) -> bool {
        let (inside, begun) = (AtomicUsize::new(0), Instant::now());
        helpers.share(wanted, &|| {
            inside.fetch_add(1, Ordering::AcqRel);
            let few = || inside.load(Ordering::Acquire) < expected;
            while few() && begun.elapsed() < Duration::from_secs(10) {
                thread::yield_now();
            }
        });
        inside.into_inner() == expected
    }

    #[test]
    fn threads_come_awake_or_asleep_and_no_more_than_wanted() {
        let helpers = Helpers::start("test", 3);
        assert_eq!(helpers.count(), 3);
        for pause in [0, 0, 20, 0, 20] {
            thread::sleep(Duration::from_millis(pause));
            for wanted in 0..=3 {
                assert!(together(&helpers, wanted, wanted + 1), "{wanted} after {pause} ms");
            }
        }
        assert!(together(&Helpers::start("test", 0), 2, 1), "none are there");
    }

    #[test]
    fn a_caller_needs_nobody_and_leaves_nothing_on_offer() {
        let helpers = Arc::new(Helpers::start("test", 1));
        let (free, blocked) = mpsc::channel::<()>();
        let (blocked, theirs) = (Mutex::new(blocked), helpers.clone());
        let caller = thread::current().id();
        let blocker = thread::spawn(move || {
            theirs.share(1, &|| drop(blocked.lock().map(|blocked| blocked.recv())));
        });
        // Its helper is inside, or still about to be; in neither case it is waited for.
        for _ in 0..3 {
            let calls = AtomicUsize::new(0);
            helpers.share(1, &|| {
                if thread::current().id() == caller {
                    calls.fetch_add(1, Ordering::AcqRel);
                }
            });
            assert_eq!(calls.into_inner(), 1);
        }
        drop(free);
        blocker.join().expect("no panic");
        assert_eq!(helpers.board.lock().places.len(), 0);
        assert_eq!(helpers.board.open.load(Ordering::Acquire), 0);
    }
}
