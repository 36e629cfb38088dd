//! The backward: recomputes the probabilities block by block. One thread handles a whole key head,
//! so that each gradient has one writer and its sums one order.

use std::ops::Range;

use super::scores::{Call, Place, Sizes};
use super::{KEYS, QUERIES, RowStats, each_with};
use crate::kernel::{Matrix, Real, Threads, sum2, wide};

/// The results of the forward, and the gradient of its output.
#[derive(Clone, Copy)]
pub(crate) struct Forward<'a, T> {
    pub(crate) y: &'a [T],
    pub(crate) grad: &'a [T],
    pub(crate) stats: &'a [RowStats],
}

/// The gradients of queries, keys and values that are wanted. With probabilities `p`:
/// `dv = pᵀ grad`, `ds = p * (grad vᵀ - sum(grad * y))`, `dq = scale * ds k` and `dk = scale * dsᵀ q`;
/// where probabilities were dropped, so are those in `dv`, and `grad vᵀ`.
pub(crate) fn backward<T: Real>(
    call: &Call<'_, T>,
    forward: Forward<'_, T>,
    wanted: [bool; 3],
) -> [Option<Vec<T>>; 3] {
    let Sizes { batch, key_heads, .. } = call.sizes;
    let [mut dq, mut dk, mut dv] = [(call.q, 0), (call.k, 1), (call.v, 2)]
        .map(|(operand, place)| wanted[place].then(|| vec![T::ZERO; operand.len()]));
    let count = batch * key_heads;
    let parts = parts(&mut dq, count).zip(parts(&mut dk, count)).zip(parts(&mut dv, count));
    let pieces = parts.enumerate().map(|(index, ((dq, dk), dv))| (index, [dq, dk, dv]));
    let pieces = pieces.collect();
    each_with(
        &call.sizes,
        pieces,
        || Room::new(&call.sizes),
        |room, (index, gradients)| {
            head(call, forward, index, gradients, room);
        },
    );
    [dq, dk, dv]
}

/// A gradient in equal parts, if it is wanted.
fn parts<T>(gradient: &mut Option<Vec<T>>, count: usize) -> impl Iterator<Item = Option<&mut [T]>> {
    let mut rest = gradient.as_deref_mut();
    let len = rest.as_ref().map_or(0, |all| all.len() / count.max(1));
    (0..count).map(move |_| {
        let (part, others) = rest.take()?.split_at_mut(len);
        rest = Some(others);
        Some(part)
    })
}

/// The buffers of one thread.
struct Room<T> {
    q: Vec<T>,
    /// `sum(grad * y)` of each query.
    dots: Vec<T>,
    probabilities: Vec<T>,
    slopes: Vec<T>,
}

impl<T: Real> Room<T> {
    fn new(sizes: &Sizes) -> Self {
        let room = |len| vec![T::ZERO; QUERIES * len];
        let [probabilities, slopes] = [KEYS, KEYS].map(room);
        Self { q: room(sizes.inner), dots: room(1), probabilities, slopes }
    }
}

/// Computes the gradients of one key head, and of the queries that share it.
fn head<T: Real>(
    call: &Call<'_, T>,
    forward: Forward<'_, T>,
    index: usize,
    [mut dq, mut dk, mut dv]: [Option<&mut [T]>; 3],
    room: &mut Room<T>,
) {
    let Sizes { queries: count, inner, .. } = call.sizes;
    let group = call.sizes.group();
    for (place, head) in (index * group..(index + 1) * group).enumerate() {
        for queries in call.sizes.query_blocks() {
            let part = |part: &Range<usize>, len| part.start * len..part.end * len;
            let first = place * count + queries.start;
            let rows = part(&(first..first + queries.len()), inner);
            let gradients =
                [dq.as_deref_mut().map(|dq| &mut dq[rows]), dk.as_deref_mut(), dv.as_deref_mut()];
            block(call, forward, (head, queries), gradients, room);
        }
    }
}

/// Adds the contribution of a block of queries to the gradients.
fn block<T: Real>(
    call: &Call<'_, T>,
    forward: Forward<'_, T>,
    (head, queries): (usize, Range<usize>),
    [mut dq, mut dk, mut dv]: [Option<&mut [T]>; 3],
    room: &mut Room<T>,
) {
    let Sizes { queries: all, inner, width, .. } = call.sizes;
    let (rows, first) = (queries.len(), head * all + queries.start);
    let of_values = first * width..(first + rows) * width;
    let (y, grad) = (&forward.y[of_values.clone()], &forward.grad[of_values]);
    let stats = &forward.stats[first..first + rows];
    call.load(head, &queries, &mut room.q[..rows * inner]);
    let q = &room.q[..rows * inner];
    let dots = &mut room.dots[..rows];
    wide(
        #[inline(always)]
        || {
            for (dot, (y, grad)) in dots.iter_mut().zip(y.chunks(width).zip(grad.chunks(width))) {
                *dot = T::from_f64(sum2(y, grad, |y, grad| [y * grad])[0]);
            }
        },
    );
    let grad = Matrix::new(grad, rows, width);
    for keys in call.key_blocks(&queries) {
        let place = Place { head, queries: queries.clone(), keys };
        let columns = place.keys.len();
        let part = |len| place.keys.start * len..place.keys.end * len;
        let [k, v] = call.keys_and_values(&place);
        let probabilities = &mut room.probabilities[..rows * columns];
        call.scores(&place, q, probabilities);
        wide(
            #[inline(always)]
            || scores_to_probabilities(probabilities, columns, stats),
        );
        let slopes = &mut room.slopes[..rows * columns];
        if let Some(dv) = &mut dv {
            slopes.copy_from_slice(probabilities);
            call.drop_out(&place, slopes);
            let turned = Matrix::new(slopes, rows, columns).transposed();
            turned.times(grad, &mut dv[part(width)], true, Threads::One);
        }
        if dq.is_none() && dk.is_none() {
            continue;
        }
        let v = Matrix::new(v, columns, width).transposed();
        grad.times(v, slopes, false, Threads::One);
        call.drop_out(&place, slopes);
        wide(
            #[inline(always)]
            || through_softmax(slopes, columns, probabilities, dots),
        );
        let slopes = Matrix::new(slopes, rows, columns);
        if let Some(dq) = &mut dq {
            slopes.times(Matrix::new(k, columns, inner), dq, true, Threads::One);
        }
        if let Some(dk) = &mut dk {
            let q = Matrix::new(q, rows, inner);
            slopes.transposed().times(q, &mut dk[part(inner)], true, Threads::One);
        }
    }
    let scale = T::from_f64(call.scale);
    dq.into_iter().flatten().for_each(|dq| *dq *= scale);
}

#[inline(always)]
fn scores_to_probabilities<T: Real>(scores: &mut [T], columns: usize, stats: &[RowStats]) {
    for (row, stats) in scores.chunks_exact_mut(columns).zip(stats) {
        let (max, scale) = (T::from_f64(stats.max), T::from_f64(stats.scale));
        for x in row {
            *x = (*x - max).exp_of_negative() * scale;
        }
    }
}

/// Turns the gradients of the probabilities `p` into those of the scores, in place.
#[inline(always)]
fn through_softmax<T: Real>(slopes: &mut [T], columns: usize, p: &[T], dots: &[T]) {
    let rows = slopes.chunks_exact_mut(columns).zip(p.chunks_exact(columns));
    for ((slopes, p), &dot) in rows.zip(dots) {
        for (slope, &p) in slopes.iter_mut().zip(p) {
            *slope = p * (*slope - dot);
        }
    }
}
