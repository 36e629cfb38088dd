//! The forward: block by block of keys; the result so far is scaled down whenever a larger score
//! occurs.

use std::ops::Range;

use super::scores::{Call, Place, Sizes};
use super::{KEYS, QUERIES, RowStats, each_with};
use crate::kernel::softmax::max;
use crate::kernel::{Matrix, MatrixMut, Real, sum1, wide};

/// `softmax(scale * q kᵀ + bias) v` with dropout, and the statistics of each row for the backward; rows that see
/// no key are zeros. There must be a key, and the result must not be empty.
pub(crate) fn forward<T: Real>(call: &Call<'_, T>) -> (Vec<T>, Vec<RowStats>) {
    let Sizes { batch, heads, queries, inner, width, .. } = call.sizes;
    let rows = batch * heads * queries;
    let mut y = vec![T::ZERO; rows * width];
    let mut stats = vec![RowStats { max: f64::NEG_INFINITY, scale: 0.0 }; rows];
    let outputs = call.order.cut(&mut y, call.sizes.result());
    let outputs = outputs.into_iter().zip(stats.chunks_mut(queries));
    let pieces = outputs.enumerate().flat_map(|(head, (y, stats))| {
        let outputs = y.row_blocks(QUERIES).zip(stats.chunks_mut(QUERIES));
        call.sizes.query_blocks().zip(outputs).map(move |block| (head, block))
    });
    let room = || {
        let numbers = |columns| vec![T::ZERO; QUERIES * columns];
        (numbers(inner), numbers(KEYS), vec![true; QUERIES * KEYS])
    };
    each_with(&call.sizes, pieces.collect(), room, |room, (head, (queries, (y, stats)))| {
        let (q, scores, kept) = room;
        let q = &mut q[..queries.len() * inner];
        call.load(head, &queries, q);
        attend(call, (head, queries), (q, scores, kept), y, stats);
    });
    (y, stats)
}

fn attend<T: Real>(
    call: &Call<'_, T>,
    (head, queries): (usize, Range<usize>),
    (q, scores, kept): (&[T], &mut [T], &mut [bool]),
    mut y: MatrixMut<'_, T>,
    stats: &mut [RowStats],
) {
    let count = queries.len();
    for keys in call.key_blocks(&queries) {
        let place = Place { head, queries: queries.clone(), keys };
        let columns = place.keys.len();
        let scores = &mut scores[..queries.len() * columns];
        call.scores(&place, q, scores);
        let rows = scores.chunks_exact_mut(columns).zip(&mut *stats).enumerate();
        wide(
            #[inline(always)]
            || {
                for (row, (scores, stats)) in rows {
                    carry(scores, y.row(row), stats);
                }
            },
        );
        let kept = &mut kept[..scores.len()];
        call.draw(&place, kept);
        call.drop_out(kept, scores);
        let [_, v] = call.keys_and_values(&place);
        let exps = Matrix::new(scores, count, columns);
        exps.times_into(v, y.rows(0..count), true);
    }
    for (row, stats) in stats.iter_mut().enumerate() {
        let y = y.row(row);
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
