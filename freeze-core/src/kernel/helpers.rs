//! Threads that take part in what callers share.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::lend::{self, Loan};
use super::patience::soon;

/// Threads that wait for work, started together. They live as long as the process.
pub(crate) struct Helpers {
    board: Arc<Board>,
}

impl Helpers {
    /// Starts `count` threads, or as many as the system can start. No more are woken than there are `processors` that
    /// none of them, and no caller, has.
    pub(crate) fn start(name: &str, count: usize, processors: usize) -> Self {
        let board = Arc::new(Board { processors, ..Board::default() });
        for i in 0..count {
            let helper = board.clone();
            let thread = thread::Builder::new().name(format!("{name}-{i}"));
            if thread.spawn(move || helper.help()).is_err() {
                break;
            }
            board.helpers.fetch_add(1, Relaxed);
        }
        Self { board }
    }

    pub(crate) fn count(&self) -> usize {
        self.board.helpers.load(Relaxed)
    }

    /// Calls `work` here and, at the same time, on up to `helpers` of the threads. Returns when all
    /// calls have returned.
    ///
    /// # Panics
    ///
    /// A call has panicked; all others have returned.
    pub(crate) fn share(&self, helpers: usize, work: &(dyn Fn() + Sync)) {
        let _caller = Caller::enter(&self.board);
        let mut offer = None;
        lend::share(
            work,
            |loan| offer = Some(self.board.offer(loan, helpers)),
            || !self.board.is_crowded(),
        );
    }
}

/// What callers offer, for threads that look for work.
#[derive(Default)]
struct Board {
    posts: Mutex<VecDeque<Arc<Loan>>>,
    news: Condvar,
    /// The number of posts, to look at without the lock.
    open: AtomicUsize,
    processors: usize,
    helpers: AtomicUsize,
    /// Of the helpers, those that look for a post, and those that sleep until there is news. They change under the
    /// lock.
    looking: AtomicUsize,
    asleep: AtomicUsize,
    /// The callers that are not themselves helpers.
    callers: AtomicUsize,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Loan>>> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The threads that have, or want, a processor.
    fn awake(&self) -> usize {
        let helpers = self.helpers.load(Relaxed).saturating_sub(self.asleep.load(Relaxed));
        helpers + self.callers.load(Relaxed)
    }

    /// Whether a thread that waits awake takes a processor from one that works.
    fn is_crowded(&self) -> bool {
        self.awake() > self.processors
    }

    /// Posts places of a loan until the result is dropped.
    fn offer<'a>(&'a self, loan: &Arc<Loan>, places: usize) -> Offer<'a> {
        let mut posts = self.lock();
        posts.extend((0..places).map(|_| loan.clone()));
        self.open.store(posts.len(), Relaxed);
        let free = self.processors.saturating_sub(self.awake());
        let wanted = places.saturating_sub(self.looking.load(Relaxed));
        drop(posts);
        (0..wanted.min(free)).for_each(|_| self.news.notify_one());
        Offer { board: self, loan: loan.clone() }
    }

    fn help(&self) {
        SHARES.set(true);
        loop {
            self.next().take_part();
        }
    }

    /// Waits for a post, at first without sleep.
    fn next(&self) -> Arc<Loan> {
        self.looking.fetch_add(1, Relaxed);
        soon(|| self.open.load(Relaxed) > 0, || !self.is_crowded());
        let mut posts = self.lock();
        self.looking.fetch_sub(1, Relaxed);
        loop {
            if let Some(loan) = posts.pop_front() {
                self.open.store(posts.len(), Relaxed);
                return loan;
            }
            self.asleep.fetch_add(1, Relaxed);
            posts = self.news.wait(posts).unwrap_or_else(PoisonError::into_inner);
            self.asleep.fetch_sub(1, Relaxed);
        }
    }
}

thread_local! {
    /// Whether the thread shares work, its own or another's.
    static SHARES: Cell<bool> = const { Cell::new(false) };
}

/// Counts a thread that calls as one, also while it calls from within a call.
struct Caller<'a>(Option<&'a Board>);

impl<'a> Caller<'a> {
    fn enter(board: &'a Board) -> Self {
        let outermost = !SHARES.replace(true);
        Self(outermost.then(|| {
            board.callers.fetch_add(1, Relaxed);
            board
        }))
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if let Some(board) = self.0 {
            board.callers.fetch_sub(1, Relaxed);
            SHARES.set(false);
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
        posts.retain(|place| !Arc::ptr_eq(place, &self.loan));
        self.board.open.store(posts.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests;
