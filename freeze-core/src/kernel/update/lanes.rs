//! Sums over a block of an update: in the type of arithmetic, in lanes.

use std::hint::black_box;

use crate::kernel::{Real, half_wide};

/// As many as let all seven sums stay in the registers of AVX2.
const LANES: usize = 8;

type Lanes<T> = [T; LANES];

/// The sums of a block; those of absolute values and of squares, in this order.
pub(super) struct Changes {
    pub(super) gradient: [f64; 2],
    pub(super) update: [f64; 2],
    pub(super) weight: [f64; 2],
    /// Of `|after - before| / |before|`, 0 where `before` is 0.
    pub(super) relative: f64,
}

/// All sums over slices of one length, in one loop.
pub(super) fn changes<T: Real>(grad: &[T], after: &[T], before: &[T]) -> Changes {
    let [g1, g2, u1, u2, w1, w2, relative] = half_wide(
        #[inline(always)]
        || sum_changes(grad, after, before),
    );
    Changes { gradient: [g1, g2], update: [u1, u2], weight: [w1, w2], relative }
}

/// The sums of absolute values and of squares of `x`, with the bits that [`changes`] gives.
pub(super) fn norms<T: Real>(x: &[T]) -> [f64; 2] {
    half_wide(
        #[inline(always)]
        || sum_norms(x),
    )
}

#[inline(always)]
fn sum_changes<T: Real>(grad: &[T], after: &[T], before: &[T]) -> [f64; 7] {
    let mut sums = [[T::ZERO; LANES]; 7];
    let (grads, grad) = grad.as_chunks();
    let (afters, after) = after.as_chunks();
    let (befores, before) = before.as_chunks();
    for ((grad, after), before) in grads.iter().zip(afters).zip(befores) {
        add_changes(&mut sums, grad, after, before);
    }
    add_changes(&mut sums, &filled(grad), &filled(after), &filled(before));
    fold(sums)
}

#[inline(always)]
fn sum_norms<T: Real>(x: &[T]) -> [f64; 2] {
    let mut sums = [[T::ZERO; LANES]; 2];
    let (xs, x) = x.as_chunks();
    for x in xs {
        add_norms(&mut sums, x);
    }
    add_norms(&mut sums, &filled(x));
    fold(sums)
}

#[inline(always)]
fn add_changes<T: Real>(
    sums: &mut [Lanes<T>; 7],
    grad: &Lanes<T>,
    after: &Lanes<T>,
    before: &Lanes<T>,
) {
    let [gradient @ .., _, _, _, _, _] = sums;
    add_norms(gradient, grad);
    let mut update = *after;
    for (update, before) in update.iter_mut().zip(before) {
        *update -= *before;
    }
    let [_, _, of_update @ .., _, _, _] = sums;
    add_norms(of_update, &update);
    let [_, _, _, _, weight @ .., relative] = sums;
    add_norms(weight, after);
    // All quotients first: with the choice in one loop, the compiler gathers `before` element by
    // element.
    let mut shares = update;
    for (share, &before) in shares.iter_mut().zip(before) {
        *share = (*share / before).abs();
    }
    for ((sum, share), &before) in relative.iter_mut().zip(shares).zip(before) {
        *sum += if before == T::ZERO { T::ZERO } else { share };
    }
}

// One loop for each sum: with two in one, the compiler vectorises across the sums.
#[inline(always)]
fn add_norms<T: Real>([l1, squares]: &mut [Lanes<T>; 2], x: &Lanes<T>) {
    for (sum, &x) in l1.iter_mut().zip(x) {
        *sum += x.abs();
    }
    for (sum, &x) in squares.iter_mut().zip(x) {
        *sum += x * x;
    }
}

/// What is left of a slice, filled up by zeros, which add nothing to any sum.
#[inline(always)]
fn filled<T: Real>(rest: &[T]) -> Lanes<T> {
    let mut lanes = [T::ZERO; LANES];
    lanes[..rest.len()].copy_from_slice(rest);
    lanes
}

/// Each sum's lanes added up, by halves.
#[inline(always)]
fn fold<T: Real, const K: usize>(sums: [Lanes<T>; K]) -> [f64; K] {
    let mut totals = [0.0; K];
    // Behind this the compiler does not see the loop that filled the lanes: it would use shorter
    // vectors there.
    for (total, mut lanes) in totals.iter_mut().zip(black_box(sums)) {
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
            half /= 2;
        }
        *total = lanes[0].to_f64();
    }
    totals
}
