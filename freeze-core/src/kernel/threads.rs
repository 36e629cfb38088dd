//! Runs kernels on several threads that nothing else can block.
//!
//! A kernel often runs while it holds one of candle's locks: on the storage that it reads, or on
//! the one that an optimizer writes to. It must not wait for threads that may themselves wait for
//! that lock, such as those of rayon's global pool, on which an evaluation may run at the same
//! time. So the threads here run only pieces of kernels, which take no lock. The caller takes pieces, too,
//! and then waits only for pieces that others have begun: it runs no unrelated work, as it would in
//! rayon's `install`.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::{env, thread};

use super::helpers::Helpers;

/// Runs `work` on every piece, here and on the threads for kernels.
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

/// As [`map`] for work that takes one of candle's locks and waits for nothing else, on threads that no
/// kernel waits for.
pub(crate) fn map_locking<I, R: Send>(pieces: I, work: impl Fn(I::Item) -> R + Sync) -> Vec<R>
where
    I: ExactSizeIterator + DoubleEndedIterator + Send,
{
    LOCKERS.map(pieces, work)
}

static KERNELS: Crew = Crew::new("freeze-kernel");
static LOCKERS: Crew = Crew::new("freeze-update");

/// Threads for one kind of work beside its callers, started on first use.
struct Crew {
    name: &'static str,
    helpers: OnceLock<Helpers>,
}

impl Crew {
    const fn new(name: &'static str) -> Self {
        Self { name, helpers: OnceLock::new() }
    }

    fn helpers(&self) -> &Helpers {
        self.helpers.get_or_init(|| Helpers::start(self.name, wanted() - 1))
    }

    /// The number of threads that a kernel called here may use, with its caller's: `RAYON_NUM_THREADS` or the number
    /// of processors, but no more than the pool has that the caller runs on.
    fn count(&self) -> usize {
        let all = self.helpers().count() + 1;
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
        if helpers == 0 {
            let mut state = start();
            return pieces.for_each(|piece| work(&mut state, piece));
        }
        let (caller, pieces) = (thread::current().id(), Mutex::new(pieces));
        self.helpers().share(helpers, &|| {
            let front = thread::current().id() == caller;
            // The caller begins at the front and the others at the back, so that each works on the
            // same part of the data from kernel to kernel.
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

/// `RAYON_NUM_THREADS`, as rayon reads it, or the number of processors.
fn wanted() -> usize {
    let set = env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok());
    let processors = || thread::available_parallelism().map_or(1, usize::from);
    set.filter(|&count| count > 0).unwrap_or_else(processors)
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
            map(0..40usize, |j| i * j).into_iter().for_each(|product| inner += product);
            inner
        });
        assert_eq!(sums.into_iter().sum::<usize>(), 780 * 780);
    }

    #[test]
    fn no_more_threads_than_the_callers_pool_has() {
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        assert_eq!(one.install(|| KERNELS.count()), 1);
        assert!(KERNELS.count() >= 1);
    }
}
