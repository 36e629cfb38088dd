//! The backward: recomputes the probabilities block by block. One thread handles a whole key head,
//! so that each gradient has one writer and its sums one order.

use std::ops::Range;

use super::heads::{Heads, Order};
use super::scores::{Call, Place, Sizes};
use super::{KEYS, QUERIES, RowStats, each_with};
use crate::kernel::{Matrix, MatrixMut, Real, Threads, sum2, wide};

/// The results of the forward, and the gradient of its output.
#[derive(Clone, Copy)]
pub(crate) struct Forward<'a, T> {
    pub(crate) y: Heads<'a, T>,
    pub(crate) grad: Heads<'a, T>,
    pub(crate) stats: &'a [RowStats],
}

/// The gradients of queries, keys and values that are wanted, each in its order. With probabilities `p`:
/// `dv = pᵀ grad`, `ds = p * (grad vᵀ - sum(grad * y))`, `dq = scale * ds k` and `dk = scale * dsᵀ q`;
/// where probabilities were dropped, so are those in `dv`, and `grad vᵀ`.
pub(crate) fn backward<T: Real>(
    call: &Call<'_, T>,
    forward: Forward<'_, T>,
    wanted: [Option<Order>; 3],
) -> [Option<Vec<T>>; 3] {
    let (sizes, shapes) = (call.sizes, call.sizes.operands());
    let [mut dq, mut dk, mut dv] = [0, 1, 2].map(|place| {
        let len = sizes.batch * shapes[place].iter().product::<usize>();
        wanted[place].map(|order| (order, vec![T::ZERO; len]))
    });
    let count = sizes.batch * sizes.key_heads;
    let parts = parts(&mut dq, shapes[0], count).zip(parts(&mut dk, shapes[1], count));
    let parts = parts.zip(self::parts(&mut dv, shapes[2], count));
    let pieces = parts.enumerate().map(|(index, ((dq, dk), dv))| (index, [dq, dk, dv]));
    let pieces = pieces.collect();
    each_with(
        &sizes,
        pieces,
        || Room::new(&sizes),
        |room, (index, gradients)| head(call, forward, index, gradients, room),
    );
    [dq, dk, dv].map(|gradient| gradient.map(|(_, values)| values))
}

/// A gradient in `count` parts of as many heads each; no heads if it is not wanted.
fn parts<T: Real>(
    gradient: &mut Option<(Order, Vec<T>)>,
    shape: [usize; 3],
    count: usize,
) -> impl Iterator<Item = Vec<MatrixMut<'_, T>>> {
    let heads = gradient.as_mut().map(|(order, values)| order.cut(values, shape));
    let mut heads = heads.unwrap_or_default().into_iter();
    let each = heads.len() / count.max(1);
    (0..count).map(move |_| heads.by_ref().take(each).collect())
}

/// Those of a block of queries, and of the keys and values of a head.
type Gradients<'g, 'a, T> = (Option<MatrixMut<'g, T>>, [Option<&'g mut MatrixMut<'a, T>>; 2]);

/// The buffers of one thread.
struct Room<T> {
    q: Vec<T>,
    /// `sum(grad * y)` of each query.
    dots: Vec<T>,
    probabilities: Vec<T>,
    slopes: Vec<T>,
    kept: Vec<bool>,
}

impl<T: Real> Room<T> {
    fn new(sizes: &Sizes) -> Self {
        let room = |len| vec![T::ZERO; QUERIES * len];
        let [probabilities, slopes] = [KEYS, KEYS].map(room);
        let kept = vec![true; QUERIES * KEYS];
        Self { q: room(sizes.inner), dots: room(1), probabilities, slopes, kept }
    }
}

/// Computes the gradients of one key head, and of the queries that share it.
fn head<T: Real>(
    call: &Call<'_, T>,
    forward: Forward<'_, T>,
    index: usize,
    [mut dq, mut dk, mut dv]: [Vec<MatrixMut<'_, T>>; 3],
    room: &mut Room<T>,
) {
    let group = call.sizes.group();
    for (place, head) in (index * group..(index + 1) * group).enumerate() {
        for queries in call.sizes.query_blocks() {
            let dq = dq.get_mut(place).map(|dq| dq.rows(queries.clone()));
            let gradients = (dq, [dk.first_mut(), dv.first_mut()]);
            block(call, forward, (head, queries), gradients, room);
        }
    }
}

/// Adds the contribution of a block of queries to the gradients.
fn block<T: Real>(
    call: &Call<'_, T>,
    forward: Forward<'_, T>,
    (head, queries): (usize, Range<usize>),
    (mut dq, [mut dk, mut dv]): Gradients<'_, '_, T>,
    room: &mut Room<T>,
) {
    let Sizes { queries: all, inner, width, .. } = call.sizes;
    let (rows, first) = (queries.len(), head * all + queries.start);
    let [y, grad] = [forward.y, forward.grad]
        .map(|all| all.matrix(call.of_batch(head), queries.clone(), width));
    let stats = &forward.stats[first..first + rows];
    call.load(head, &queries, &mut room.q[..rows * inner]);
    let q = &room.q[..rows * inner];
    let dots = &mut room.dots[..rows];
    wide(
        #[inline(always)]
        || {
            for (row, dot) in dots.iter_mut().enumerate() {
                *dot = T::from_f64(sum2(y.row(row), grad.row(row), |y, grad| [y * grad])[0]);
            }
        },
    );
    for keys in call.key_blocks(&queries) {
        let place = Place { head, queries: queries.clone(), keys };
        let columns = place.keys.len();
        let [k, v] = call.keys_and_values(&place);
        let probabilities = &mut room.probabilities[..rows * columns];
        call.scores(&place, q, probabilities);
        wide(
            #[inline(always)]
            || scores_to_probabilities(probabilities, columns, stats),
        );
        let slopes = &mut room.slopes[..rows * columns];
        let kept = &mut room.kept[..rows * columns];
        call.draw(&place, kept);
        if let Some(dv) = &mut dv {
            slopes.copy_from_slice(probabilities);
            call.drop_out(kept, slopes);
            let turned = Matrix::new(slopes, rows, columns).transposed();
            turned.times_into(grad, dv.rows(place.keys.clone()), true);
        }
        if dq.is_none() && dk.is_none() {
            continue;
        }
        grad.times(v.transposed(), slopes, false, Threads::One);
        call.drop_out(kept, slopes);
        wide(
            #[inline(always)]
            || through_softmax(slopes, columns, probabilities, dots),
        );
        let slopes = Matrix::new(slopes, rows, columns);
        if let Some(dq) = &mut dq {
            slopes.times_into(k, dq.rows(0..rows), true);
        }
        if let Some(dk) = &mut dk {
            let q = Matrix::new(q, rows, inner);
            slopes.transposed().times_into(q, dk.rows(place.keys.clone()), true);
        }
    }
    let scale = T::from_f64(call.scale);
    if let Some(dq) = &mut dq {
        for row in 0..rows {
            dq.row(row).iter_mut().for_each(|dq| *dq *= scale);
        }
    }
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
