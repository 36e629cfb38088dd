//! The forward: block by block of keys; the result so far is scaled down whenever a larger score
//! occurs.

use std::ops::Range;

use super::scores::{Call, Place, Sizes};
use super::{KEYS, QUERIES, RowStats, each_with};
use crate::kernel::softmax::max;
use crate::kernel::{Matrix, Real, Threads, sum1, wide};

/// `softmax(scale * q kᵀ + bias) v` with dropout, and the statistics of each row for the backward; rows that see
/// no key are zeros. There must be a key, and the result must not be empty.
pub(crate) fn forward<T: Real>(call: &Call<'_, T>) -> (Vec<T>, Vec<RowStats>) {
    let Sizes { batch, heads, queries, inner, width, .. } = call.sizes;
    let rows = batch * heads * queries;
    let mut y = vec![T::ZERO; rows * width];
    let mut stats = vec![RowStats { max: f64::NEG_INFINITY, scale: 0.0 }; rows];
    let outputs = y.chunks_mut(queries * width).zip(stats.chunks_mut(queries));
    let pieces = outputs.enumerate().flat_map(|(head, (y, stats))| {
        let outputs = y.chunks_mut(QUERIES * width).zip(stats.chunks_mut(QUERIES));
        call.sizes.query_blocks().zip(outputs).map(move |block| (head, block))
    });
    let room = || (vec![T::ZERO; QUERIES * inner], vec![T::ZERO; QUERIES * KEYS]);
    each_with(&call.sizes, pieces.collect(), room, |(q, scores), (head, (queries, (y, stats)))| {
        let q = &mut q[..queries.len() * inner];
        call.load(head, &queries, q);
        attend(call, (head, queries), (q, scores), y, stats);
    });
    (y, stats)
}

fn attend<T: Real>(
    call: &Call<'_, T>,
    (head, queries): (usize, Range<usize>),
    (q, scores): (&[T], &mut [T]),
    y: &mut [T],
    stats: &mut [RowStats],
) {
    let width = call.sizes.width;
    for keys in call.key_blocks(&queries) {
        let place = Place { head, queries: queries.clone(), keys };
        let columns = place.keys.len();
        let scores = &mut scores[..queries.len() * columns];
        call.scores(&place, q, scores);
        let rows = scores.chunks_exact_mut(columns).zip(y.chunks_exact_mut(width)).zip(&mut *stats);
        wide(
            #[inline(always)]
            || {
                for ((scores, y), stats) in rows {
                    carry(scores, y, stats);
                }
            },
        );
        call.drop_out(&place, scores);
        let [_, v] = call.keys_and_values(&place);
        let v = Matrix::new(v, columns, width);
        let exps = Matrix::new(scores, queries.len(), columns);
        exps.times(v, y, true, Threads::One);
    }
    for (y, stats) in y.chunks_exact_mut(width).zip(stats) {
        // The largest of the visible scores adds 1 to the sum.
        stats.scale = if stats.scale == 0.0 { 0.0 } else { stats.scale.recip() };
        stats.max = shift(stats.max);
        if stats.scale == 0.0 {
            // No key was visible, so infinite or NaN values have no effect either.
            y.fill(T::ZERO);
        }
        let scale = T::from_f64(stats.scale);
        y.iter_mut().for_each(|y| *y *= scale);
    }
}

/// Replaces a row's scores by their exponentials, and rescales the row's result so far, and its sum
/// in `stats.scale`, to the largest of all scores.
#[inline(always)]
fn carry<T: Real>(scores: &mut [T], y: &mut [T], stats: &mut RowStats) {
    let before = stats.max;
    stats.max = max(scores).to_f64().max(before);
    let to = shift(stats.max);
    let shift = T::from_f64(to);
    scores.iter_mut().for_each(|score| *score = (*score - shift).exp_of_negative());
    let keep = T::from_f64(before - to).exp_of_negative();
    stats.scale = stats.scale * keep.to_f64() + sum1(scores, |exp| [exp])[0];
    if keep != T::one() {
        y.iter_mut().for_each(|y| *y *= keep);
    }
}

/// The number to subtract from scores whose largest is `max`.
fn shift(max: f64) -> f64 {
    if max == f64::NEG_INFINITY { 0.0 } else { max }
}
