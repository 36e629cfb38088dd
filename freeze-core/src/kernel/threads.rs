//! Runs kernels on several threads that nothing else can block.
//!
//! A kernel often runs while it holds one of candle's locks: on the storage that it reads, or on
//! the one that an optimizer writes to. It must not wait for threads that may themselves wait for
//! that lock, such as those of rayon's global pool, on which an evaluation may run at the same
//! time. So its pieces, which take no lock, run on the caller and on threads of our own, and the caller
//! waits only for pieces that others have begun: it runs no unrelated work, as it would in rayon's
//! `install`. Work that takes a lock may run here, too, if it waits for nothing else: a thread that it
//! blocks has not begun a kernel's piece, so no kernel waits for that thread.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::{env, thread};

use super::helpers::Helpers;

/// Runs `work` on every piece, here and on other threads.
pub(crate) fn each<I>(pieces: I, work: impl Fn(I::Item) + Sync)
where
    I: ExactSizeIterator + DoubleEndedIterator + Send,
{
    each_if(true, pieces, work);
}

/// As [`each`], but here alone unless there is `enough` work.
pub(crate) fn each_if<I>(enough: bool, pieces: I, work: impl Fn(I::Item) + Sync)
where
    I: ExactSizeIterator + DoubleEndedIterator + Send,
{
    each_with(enough, pieces, || (), |(), piece| work(piece));
}

/// As [`each_if`], with a value for each thread to work with, which it creates when it begins.
pub(crate) fn each_with<I, S>(
    enough: bool,
    pieces: I,
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, I::Item) + Sync,
) where
    I: ExactSizeIterator + DoubleEndedIterator + Send,
{
    let (len, pieces) = (pieces.len(), Mutex::new(pieces));
    share(enough, len, &|front| {
        let mut state = None;
        while let Some(piece) = taken(&pieces, front) {
            work(state.get_or_insert_with(&start), piece);
        }
    });
}

fn taken<I: DoubleEndedIterator>(pieces: &Mutex<I>, front: bool) -> Option<I::Item> {
    let mut pieces = pieces.lock().unwrap_or_else(PoisonError::into_inner);
    if front { pieces.next() } else { pieces.next_back() }
}

/// The results of `work` on every piece, in order.
pub(crate) fn map<I, R: Send>(pieces: I, work: impl Fn(I::Item) -> R + Sync) -> Vec<R>
where
    I: ExactSizeIterator + DoubleEndedIterator + Send,
{
    map_if(true, pieces, work)
}

/// As [`map`], but here alone unless there is `enough` work.
pub(crate) fn map_if<I, R: Send>(
    enough: bool,
    pieces: I,
    work: impl Fn(I::Item) -> R + Sync,
) -> Vec<R>
where
    I: ExactSizeIterator + DoubleEndedIterator + Send,
{
    let results = Results::of(pieces.len());
    each_if(enough, pieces.enumerate(), |(place, piece)| results.put(place, work(piece)));
    results.take()
}

/// What comes of pieces that are done in any order.
pub(crate) struct Results<R>(Mutex<Vec<Option<R>>>);

impl<R> Results<R> {
    /// Room for so many.
    pub(crate) fn of(len: usize) -> Self {
        let mut results = Vec::new();
        results.resize_with(len, || None);
        Self(Mutex::new(results))
    }

    pub(crate) fn put(&self, place: usize, result: R) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[place] = Some(result);
    }

    /// All of them, in order.
    pub(crate) fn take(self) -> Vec<R> {
        let results = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::with_capacity(results.len());
        for result in results {
            all.extend(result);
        }
        all
    }
}

/// Calls `work` here and, if there is `enough`, on as many threads as so many pieces can occupy. Each call takes
/// pieces until there are none left: the caller's from the front and the others from the back, so that each works on
/// the same part of the data from kernel to kernel.
fn share(enough: bool, pieces: usize, work: &(dyn Fn(bool) + Sync)) {
    let others = match pieces {
        len if enough && len > 1 => count().min(len) - 1,
        _ => 0,
    };
    if others == 0 {
        return work(true);
    }
    let caller = thread::current().id();
    helpers().share(others, &|| work(thread::current().id() == caller));
}

/// The number of threads that a kernel called here may use, with its caller's: [`wanted`], but no more than
/// the pool has that the caller runs on.
fn count() -> usize {
    let all = helpers().count() + 1;
    match rayon::current_thread_index() {
        Some(_) => all.min(rayon::current_num_threads()),
        None => all,
    }
}

/// The threads beside callers, started on first use.
fn helpers() -> &'static Helpers {
    static HELPERS: OnceLock<Helpers> = OnceLock::new();
    HELPERS.get_or_init(|| Helpers::start("freeze-kernel", wanted() - 1, processors()))
}

/// `RAYON_NUM_THREADS`, as rayon reads it, or the number of processors.
fn wanted() -> usize {
    let set = env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok());
    set.filter(|&count| count > 0).unwrap_or_else(processors)
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_once_and_results_in_order() {
        for len in [0, 1, 2, 7, 1000] {
            let expected: Vec<usize> = (0..len).map(|i| i * i).collect();
            assert_eq!(map(0..len, |i| i * i), expected);
            let mut out = vec![0; len];
            each_with(
                true,
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
        let sums = map(0..40usize, |i| map(0..40usize, |j| i * j).into_iter().sum::<usize>());
        assert_eq!(sums.into_iter().sum::<usize>(), 780 * 780);
    }

    #[test]
    fn no_more_threads_than_the_callers_pool_has() {
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        assert_eq!(one.install(count), 1);
        assert!(count() >= 1);
    }
}
