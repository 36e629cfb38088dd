//! Loops over slices, in pieces on several threads if there is enough work, compiled for the
//! processor's SIMD width: closures that contain a loop are `#[inline(always)]`.

use std::borrow::Cow;

use super::numbers::read_all;
use super::{Element, Numbers, NumbersMut, Real, threads, wide};

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
        threads::each_if(elements >= self.from, pieces, |piece| run(&work, piece));
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
        threads::map_if(elements >= self.from, pieces, |piece| run(&work, piece))
    }
}

/// The one place where each kind of work is compiled, once for each width: inlined, it would be once more for
/// each way to go through the pieces.
#[inline(never)]
fn run<P, R>(work: &impl Fn(P) -> R, piece: P) -> R {
    wide(
        #[inline(always)]
        || work(piece),
    )
}

/// The elements of halves that are converted at a time: a few such blocks fit into the first-level cache.
const BLOCK: usize = 1 << 11;

/// The bytes that a shorter operand is repeated to: it stays in the first-level cache beside what flows through.
const ROW: usize = 1 << 12;

/// `f(a)` for each element, in one pass.
pub(crate) fn map<T: Element>(a: &[T], f: impl Fn(T::Real) -> T::Real + Sync) -> Vec<T> {
    let mut out = vec![T::zero(); a.len()];
    map_numbers(T::numbers_mut(&mut out), [T::numbers(a)], f);
    out
}

/// `f(a)` for each element as it is stored, for an `f` that wider vectors do not make faster.
pub(crate) fn map_stored<T: Element>(a: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    let mut out = vec![T::zero(); a.len()];
    let pieces = out.chunks_mut(MAP.grain).zip(a.chunks(MAP.grain));
    let piece = |(out, a): (&mut [T], &[T])| {
        out.iter_mut().zip(a).for_each(|(out, &a)| *out = f(a));
    };
    threads::each_if(a.len() >= MAP.from, pieces, piece);
    out
}

/// `f(a, b)` for each pair, in one pass; a shorter `b` is gone through again and again.
pub(crate) fn zip_map<T: Element>(
    a: &[T],
    b: &[T],
    f: impl Fn(T::Real, T::Real) -> T::Real + Sync,
) -> Vec<T> {
    let mut out = vec![T::zero(); a.len()];
    // A few elements become a row that is long enough for a loop.
    let enough = ROW / size_of::<T::Real>();
    let row = match b.len() {
        len if len > 0 && len < enough.min(a.len()) => Cow::Owned(b.repeat(enough.div_ceil(len))),
        _ => Cow::Borrowed(b),
    };
    zip_numbers(T::numbers_mut(&mut out), [a, &row].map(T::numbers), f);
    out
}

/// `f(a, b, c)` for each triple, in one pass.
pub(crate) fn zip3_map<T: Element>(
    operands: [&[T]; 3],
    f: impl Fn(T::Real, T::Real, T::Real) -> T::Real + Sync,
) -> Vec<T> {
    let mut out = vec![T::zero(); operands[0].len()];
    zip3_numbers(T::numbers_mut(&mut out), operands.map(T::numbers), f);
    out
}

/// `a + b`, as a function that has the same type wherever it is passed to [`zip_map`].
#[inline(always)]
pub(crate) fn sum<R: Real>(a: R, b: R) -> R {
    a + b
}

fn map_numbers<R: Real>(out: NumbersMut<'_, R>, a: [Numbers<'_, R>; 1], f: impl Fn(R) -> R + Sync) {
    write(out, a, &|out, [a]| {
        wide(
            #[inline(always)]
            || {
                for (out, &a) in out.iter_mut().zip(a) {
                    *out = f(a);
                }
            },
        );
    });
}

fn zip_numbers<R: Real>(
    out: NumbersMut<'_, R>,
    operands: [Numbers<'_, R>; 2],
    f: impl Fn(R, R) -> R + Sync,
) {
    write(out, operands, &|out, [a, b]| {
        wide(
            #[inline(always)]
            || {
                for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
                    *out = f(a, b);
                }
            },
        );
    });
}

fn zip3_numbers<R: Real>(
    out: NumbersMut<'_, R>,
    operands: [Numbers<'_, R>; 3],
    f: impl Fn(R, R, R) -> R + Sync,
) {
    write(out, operands, &|out, [a, b, c]| {
        wide(
            #[inline(always)]
            || {
                for (out, ((&a, &b), &c)) in out.iter_mut().zip(a.iter().zip(b).zip(c)) {
                    *out = f(a, b, c);
                }
            },
        );
    });
}

/// What overwrites some elements, from those of each operand.
type Work<'a, R, const N: usize> = dyn Fn(&mut [R], [&[R]; N]) + Sync + 'a;

/// Has `work` overwrite all elements; operands that are shorter are gone through again and again.
fn write<R: Real, const N: usize>(
    out: NumbersMut<'_, R>,
    operands: [Numbers<'_, R>; N],
    work: &Work<'_, R, N>,
) {
    let elements = out.len();
    let most = match out {
        NumbersMut::Here(_) => MAP.grain,
        NumbersMut::Halves(..) => BLOCK,
    };
    let piece = |(piece, mut out): (usize, NumbersMut<'_, R>)| {
        let mut rooms = [const { Vec::new() }; N];
        let mut start = piece * MAP.grain;
        while out.len() > 0 {
            // Up to where the first operand begins again.
            let len = operands.iter().fold(most.min(out.len()), |len, operand| {
                len.min(operand.len() - start % operand.len())
            });
            let from = |place: usize| {
                let first = start % operands[place].len();
                first..first + len
            };
            let from = read_all(operands, from, &mut rooms);
            let (now, rest) = out.split_at(len);
            now.write(|out| work(out, from));
            (out, start) = (rest, start + len);
        }
    };
    let pieces = out.chunks(MAP.grain).into_iter().enumerate();
    threads::each_if(elements >= MAP.from, pieces, piece);
}
