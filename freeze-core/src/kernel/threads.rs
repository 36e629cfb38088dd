//! Runs kernels on several threads that nothing else can block.
//!
//! A kernel often runs while it holds one of candle's locks: on the storage that it reads, or on
//! the one that an optimizer writes to. It must not wait for threads that may themselves wait for
//! that lock, such as those of rayon's global pool, on which an evaluation may run at the same
//! time. So the threads here run only pieces of kernels, which take no lock, and the caller sleeps
//! meanwhile: it runs no unrelated work, as it would in rayon's `install`.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::lend;

/// Runs `work` on every piece, on all threads.
pub(crate) fn each<I>(pieces: I, work: impl Fn(I::Item) + Sync)
where
    I: ExactSizeIterator + DoubleEndedIterator + Send,
{
    KERNELS.each_with(pieces, || (), |(), piece| work(piece));
}

/// As [`each`], with a value for each thread to work with, which it creates when it begins.
pub(crate) fn each_with<I, S>(
    pieces: I,
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, I::Item) + Sync,
) where
    I: ExactSizeIterator + DoubleEndedIterator + Send,
{
    KERNELS.each_with(pieces, start, work);
}

/// The results of `work` on every piece, in order.
pub(crate) fn map<I, R: Send>(pieces: I, work: impl Fn(I::Item) -> R + Sync) -> Vec<R>
where
    I: ExactSizeIterator + DoubleEndedIterator + Send,
{
    KERNELS.map(pieces, work)
}

/// As [`map`] for work that takes one of candle's locks and waits for nothing else; no kernel waits
/// for the threads that run it.
pub(crate) fn map_locking<I, R: Send>(pieces: I, work: impl Fn(I::Item) -> R + Sync) -> Vec<R>
where
    I: ExactSizeIterator + DoubleEndedIterator + Send,
{
    LOCKERS.map(pieces, work)
}

static KERNELS: Crew = Crew::new("freeze-kernel");
static LOCKERS: Crew = Crew::new("freeze-update");

/// Threads for one kind of work, started on first use.
struct Crew {
    name: &'static str,
    /// `None` if the system cannot start threads.
    pool: OnceLock<Option<ThreadPool>>,
}

impl Crew {
    const fn new(name: &'static str) -> Self {
        Self { name, pool: OnceLock::new() }
    }

    fn pool(&self) -> Option<&ThreadPool> {
        let name = self.name;
        let build = || ThreadPoolBuilder::new().thread_name(move |i| format!("{name}-{i}")).build();
        self.pool.get_or_init(|| build().ok()).as_ref()
    }

    /// Calls `work` on a thread of the crew.
    fn within(&self, work: &(dyn Fn() + Sync)) {
        match self.pool() {
            // On a thread of the pool, rayon's loops already stay in the pool.
            Some(pool) if pool.current_thread_index().is_none() => lend::hand_over(pool, work),
            _ => work(),
        }
    }

    /// Calls `work` on a thread of the crew and on up to `helpers` others at the same time; the first has `true`.
    fn share(&self, pool: &ThreadPool, helpers: usize, work: &(dyn Fn(bool) + Sync)) {
        // The caller sleeps meanwhile; the threads of the pool stay awake from one kernel to the
        // next.
        self.within(&|| {
            let leader = thread::current().id();
            lend::share(pool, helpers, &|| work(thread::current().id() == leader));
        });
    }

    /// The number of threads that a kernel called here may use: `RAYON_NUM_THREADS` or the number
    /// of processors, but no more than the pool has that the caller runs on.
    fn count(&self) -> usize {
        let all = self.pool().map_or(1, ThreadPool::current_num_threads);
        match rayon::current_thread_index() {
            Some(_) => all.min(rayon::current_num_threads()),
            None => all,
        }
    }

    fn each_with<I, S>(
        &self,
        pieces: I,
        start: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, I::Item) + Sync,
    ) where
        I: ExactSizeIterator + DoubleEndedIterator + Send,
    {
        let helpers = match pieces.len() {
            0 | 1 => 0,
            len => self.count().min(len) - 1,
        };
        let (Some(pool), 1..) = (self.pool.get().and_then(Option::as_ref), helpers) else {
            let mut state = start();
            return pieces.for_each(|piece| work(&mut state, piece));
        };
        let pieces = Mutex::new(pieces);
        self.share(pool, helpers, &|front| {
            // One thread begins at the front and the others at the back, so that each works on
            // the same part of the data.
            let next = || {
                let mut pieces = pieces.lock().unwrap_or_else(PoisonError::into_inner);
                if front { pieces.next() } else { pieces.next_back() }
            };
            let Some(first) = next() else { return };
            let mut state = start();
            work(&mut state, first);
            while let Some(piece) = next() {
                work(&mut state, piece);
            }
        });
    }

    fn map<I, R: Send>(&self, pieces: I, work: impl Fn(I::Item) -> R + Sync) -> Vec<R>
    where
        I: ExactSizeIterator + DoubleEndedIterator + Send,
    {
        let mut results: Vec<Option<R>> = (0..pieces.len()).map(|_| None).collect();
        let places = pieces.zip(&mut results);
        self.each_with(places, || (), |(), (piece, place)| *place = Some(work(piece)));
        results.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_once_and_results_in_order() {
        for len in [0, 1, 2, 7, 1000] {
            let expected: Vec<usize> = (0..len).map(|i| i * i).collect();
            assert_eq!(map(0..len, |i| i * i), expected);
            assert_eq!(map_locking(0..len, |i| i * i), expected);
            let mut out = vec![0; len];
            each_with(
                out.iter_mut().enumerate(),
                || 0,
                |state, (i, out)| {
                    *state += 1;
                    *out = i * i;
                },
            );
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn kernels_within_kernels_come_to_an_end() {
        let sums = map(0..40usize, |i| {
            let mut inner = 0;
            KERNELS.within(&|| rayon::scope(|scope| scope.spawn(|_| ())));
            map(0..40usize, |j| i * j).into_iter().for_each(|product| inner += product);
            inner
        });
        assert_eq!(sums.into_iter().sum::<usize>(), 780 * 780);
    }

    #[test]
    fn no_more_threads_than_the_callers_pool_has() {
        let one = ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        assert_eq!(one.install(|| KERNELS.count()), 1);
        assert!(KERNELS.count() >= 1);
    }
}
