//! Loops over slices, in pieces on several threads if there is enough work, compiled for the
//! processor's SIMD width: closures that contain a loop are `#[inline(always)]`.

use candle_core::WithDType;

use super::{threads, wide};

/// How a loop is divided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// With fewer elements than this, waking other threads costs more than it saves.
    pub(crate) from: usize,
    /// The elements that one thread takes at a time.
    pub(crate) grain: usize,
}

/// Loops that are bound by memory.
pub(crate) const STREAM: Cut = Cut { from: 1 << 16, grain: 1 << 15 };
/// Loops that compute a function of each element and allocate the result.
pub(crate) const MAP: Cut = Cut { from: 1 << 15, grain: 1 << 13 };
/// Loops over rows that are read several times.
pub(crate) const ROWS: Cut = Cut { from: 1 << 14, grain: 1 << 14 };

impl Cut {
    /// Runs `work` on every piece; `elements` is the total number.
    pub(crate) fn each<I>(self, elements: usize, pieces: I, work: impl Fn(I::Item) + Sync)
    where
        I: ExactSizeIterator + DoubleEndedIterator + Send,
    {
        match elements < self.from {
            true => pieces.for_each(|piece| run(&work, piece)),
            false => threads::each(pieces, |piece| run(&work, piece)),
        }
    }

    /// As [`each`](Self::each); the results in the order of the pieces.
    pub(crate) fn map<I, R: Send>(
        self,
        elements: usize,
        pieces: I,
        work: impl Fn(I::Item) -> R + Sync,
    ) -> Vec<R>
    where
        I: ExactSizeIterator + DoubleEndedIterator + Send,
    {
        match elements < self.from {
            true => pieces.map(|piece| run(&work, piece)).collect(),
            false => threads::map(pieces, |piece| run(&work, piece)),
        }
    }
}

/// The one place where each kind of work is compiled, once for each width.
fn run<P, R>(work: &impl Fn(P) -> R, piece: P) -> R {
    wide(
        #[inline(always)]
        || work(piece),
    )
}

/// `f(a)` for each element, in one pass.
pub(crate) fn map<T: WithDType>(a: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    zip_map(
        a,
        a,
        #[inline(always)]
        |a, _| f(a),
    )
}

/// `f(a, b)` for each pair, in one pass.
pub(crate) fn zip_map<T: WithDType>(a: &[T], b: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    let mut out = vec![T::zero(); a.len()];
    let chunks = a.chunks(MAP.grain).zip(b.chunks(MAP.grain));
    MAP.each(
        a.len(),
        out.chunks_mut(MAP.grain).zip(chunks),
        #[inline(always)]
        |(out, (a, b))| {
            for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
                *out = f(a, b);
            }
        },
    );
    out
}

/// `f(a, b, c)` for each triple, in one pass.
pub(crate) fn zip3_map<T: WithDType>(
    [a, b, c]: [&[T]; 3],
    f: impl Fn(T, T, T) -> T + Sync,
) -> Vec<T> {
    let mut out = vec![T::zero(); a.len()];
    let chunks = a.chunks(MAP.grain).zip(b.chunks(MAP.grain)).zip(c.chunks(MAP.grain));
    MAP.each(
        a.len(),
        out.chunks_mut(MAP.grain).zip(chunks),
        #[inline(always)]
        |(out, ((a, b), c))| {
            for (out, ((&a, &b), &c)) in out.iter_mut().zip(a.iter().zip(b).zip(c)) {
                *out = f(a, b, c);
            }
        },
    );
    out
}

/// `f(a, b)` for each element of `a`, `b` being gone through again and again.
pub(crate) fn zip_cycle<T: WithDType>(a: &[T], b: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    if a.len() == b.len() {
        return zip_map(a, b, f);
    }
    if let [b] = *b {
        return map(
            a,
            #[inline(always)]
            |a| f(a, b),
        );
    }
    let mut out = vec![T::zero(); a.len()];
    // Whole turns of a short `b` are one piece, a long one has several.
    let grain = MAP.grain.max(b.len()) / b.len().max(1) * b.len();
    let pieces = out.chunks_mut(grain.max(1)).zip(a.chunks(grain.max(1)));
    MAP.each(
        a.len(),
        pieces,
        #[inline(always)]
        |(out, a)| {
            for (out, a) in out.chunks_mut(b.len()).zip(a.chunks(b.len())) {
                for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
                    *out = f(a, b);
                }
            }
        },
    );
    out
}
