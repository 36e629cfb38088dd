//! Sums of absolute values and of squares, of one tensor or of the difference of two, in one pass and
//! in double precision.

use candle_core::{Result, Tensor};

use crate::kernel::pieces::STREAM;
use crate::kernel::{Element, by_element, slices, threads, wide};

const LANES: usize = 8;

/// The sums over all elements of a CPU tensor: of |x|, of x^2.
///
/// # Errors
///
/// The tensor is on another device, or its type has no arithmetic here.
pub(crate) fn sums(tensor: &Tensor) -> Result<[f64; 2]> {
    by_element!(tensor.dtype(), "norms", T => slices::with(tensor, |x: &[T]| {
        Ok(pieces(x, x, |x, _| [x.abs(), x * x]))
    }))
}

/// The sums over all elements of two CPU tensors of one shape and type: of |after - before|, of its
/// square, and of |after - before| / |before| where `before` is not 0.
///
/// # Errors
///
/// As [`sums`].
pub(crate) fn sums_between(after: &Tensor, before: &Tensor) -> Result<[f64; 3]> {
    by_element!(after.dtype(), "norms", T => slices::with2([after, before], |after: &[T], before: &[T]| {
        Ok(pieces(after, before, |after, before| {
            let update = (after - before).abs();
            let share = if before == 0.0 { 0.0 } else { update / before.abs() };
            [update, update * update, share]
        }))
    }))
}

/// The sum of the products of the elements of two CPU tensors of one shape and type.
///
/// # Errors
///
/// As [`sums`].
pub(crate) fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    let [sum] = by_element!(a.dtype(), "dot", T => slices::with2([a, b], |a: &[T], b: &[T]| {
        Ok(pieces(a, b, |a, b| [a * b]))
    }))?;
    Ok(sum)
}

/// Adds up the terms of each piece and then the pieces, in a fixed order.
fn pieces<T: Element, const K: usize>(
    x: &[T],
    y: &[T],
    term: impl Fn(f64, f64) -> [f64; K] + Copy + Sync,
) -> [f64; K] {
    let piece = |(x, y): (&[T], &[T])| {
        wide(
            #[inline(always)]
            || in_lanes(x, y, term),
        )
    };
    if x.len() < STREAM.from {
        return piece((x, y));
    }
    let pairs: Vec<(&[T], &[T])> = x.chunks(STREAM.grain).zip(y.chunks(STREAM.grain)).collect();
    threads::map(pairs.into_iter(), piece).into_iter().fold([0.0; K], added)
}

#[inline(always)]
fn in_lanes<T: Element, const K: usize>(
    x: &[T],
    y: &[T],
    term: impl Fn(f64, f64) -> [f64; K],
) -> [f64; K] {
    let mut lanes = [[0.0; K]; LANES];
    for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
        for (lane, (x, y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane = added(*lane, term(x.to_f64(), y.to_f64()));
        }
    }
    lanes.into_iter().fold([0.0; K], added)
}

#[inline(always)]
fn added<const K: usize>(mut a: [f64; K], b: [f64; K]) -> [f64; K] {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    a
}
