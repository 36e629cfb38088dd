//! Sums of absolute values, of squares and of products, of one slice or of two, in one pass and in double precision,
//! with the same bits on any number of threads.

use candle_core::{Result, Tensor, WithDType};

use crate::kernel::pieces::STREAM;
use crate::kernel::{Element, Real, by_element, slices, threads, wide};

const LANES: usize = 8;

/// The elements converted at a time.
const BLOCK: usize = 512;

/// The sum of the squares of all elements.
pub(super) fn sum_squares<T: Element>(elements: &[T]) -> f64 {
    let [sum] = pieces([elements], |[x]| [x * x]);
    sum
}

/// The sums over all elements of a CPU tensor: of |x|, of x^2.
///
/// # Errors
///
/// The tensor is on another device, or its type has no arithmetic here.
pub(crate) fn sums(tensor: &Tensor) -> Result<[f64; 2]> {
    by_element!(tensor.dtype(), "norms", T => slices::with(tensor, |x: &[T]| {
        Ok(pieces([x], |[x]| [x.abs(), x * x]))
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
        Ok(pieces([after, before], |[after, before]| {
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
        Ok(pieces([a, b], |[a, b]| [a * b]))
    }))?;
    Ok(sum)
}

/// Adds up the terms of each piece of slices of one length and then the pieces, in a fixed order.
fn pieces<T: Element, const N: usize, const K: usize>(
    slices: [&[T]; N],
    term: impl Fn([f64; N]) -> [f64; K] + Copy + Sync,
) -> [f64; K] {
    let len = slices[0].len();
    let piece = |start: usize| {
        let parts = slices.map(|slice| &slice[start..slice.len().min(start + STREAM.grain)]);
        wide(
            #[inline(always)]
            || in_lanes(parts, term),
        )
    };
    let starts = (0..len.div_ceil(STREAM.grain)).map(|place| place * STREAM.grain);
    match len < STREAM.from {
        true => wide(
            #[inline(always)]
            || in_lanes(slices, term),
        ),
        false => threads::map(starts, piece).into_iter().fold([0.0; K], added),
    }
}

#[inline(always)]
fn in_lanes<T: Element, const N: usize, const K: usize>(
    slices: [&[T]; N],
    term: impl Fn([f64; N]) -> [f64; K],
) -> [f64; K] {
    let mut rooms = [[T::Real::ZERO; BLOCK]; N];
    let mut lanes = [[0.0; LANES]; K];
    for start in (0..slices[0].len()).step_by(BLOCK) {
        let mut blocks = [&[][..]; N];
        for ((block, slice), room) in blocks.iter_mut().zip(slices).zip(&mut rooms) {
            let elements = &slice[start..slice.len().min(start + BLOCK)];
            *block = match T::exact(elements) {
                Some(numbers) => numbers,
                None => {
                    let room = &mut room[..elements.len()];
                    T::load(elements, room);
                    room
                }
            };
        }
        let eights = blocks.map(|block| block.as_chunks::<LANES>());
        for place in 0..eights[0].0.len() {
            let eight = eights.map(|(eights, _)| &eights[place]);
            // All terms first: added at once, the compiler vectorises across the sums.
            let mut terms = [[0.0; LANES]; K];
            for lane in 0..LANES {
                let of_lane = term(eight.map(|numbers| numbers[lane].to_f64()));
                terms.iter_mut().zip(of_lane).for_each(|(terms, term)| terms[lane] = term);
            }
            lanes.iter_mut().zip(terms).for_each(|(lanes, terms)| *lanes = added(*lanes, terms));
        }
        for lane in 0..eights[0].1.len() {
            let of_lane = term(eights.map(|(_, rest)| rest[lane].to_f64()));
            lanes.iter_mut().zip(of_lane).for_each(|(lanes, term)| lanes[lane] += term);
        }
    }
    lanes.map(|lanes| lanes.into_iter().fold(0.0, |sum, lane| sum + lane))
}

#[inline(always)]
fn added<const K: usize>(mut a: [f64; K], b: [f64; K]) -> [f64; K] {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    a
}
