//! Sums over slices, in lanes that the compiler turns into vector instructions, added up in f64.

use std::hint::black_box;

use candle_core::WithDType;

use super::{Element, Real};

const LANES: usize = 16;
/// The number of elements after which the lanes are added to the f64 total.
const FLUSH: usize = 4096;

/// The sums of the `K` values, one or two, that `term` returns for every element.
#[inline(always)]
pub(crate) fn sum1<T: Element, const K: usize>(
    x: &[T],
    term: impl Fn(T::Real) -> [T::Real; K],
) -> [f64; K] {
    sum3(x, x, x, |x, _, _| term(x))
}

/// As [`sum1`] over two slices of one length.
#[inline(always)]
pub(crate) fn sum2<T: Element, const K: usize>(
    x: &[T],
    y: &[T],
    term: impl Fn(T::Real, T::Real) -> [T::Real; K],
) -> [f64; K] {
    sum3(x, y, y, |x, y, _| term(x, y))
}

/// As [`sum1`] over three slices of one length.
#[inline(always)]
pub(crate) fn sum3<T: Element, const K: usize>(
    x: &[T],
    y: &[T],
    z: &[T],
    term: impl Fn(T::Real, T::Real, T::Real) -> [T::Real; K],
) -> [f64; K] {
    const { assert!(K == 1 || K == 2, "one sum or two") };
    let mut total = [0.0; K];
    for ((x, y), z) in x.chunks(FLUSH).zip(y.chunks(FLUSH)).zip(z.chunks(FLUSH)) {
        total[0] += sum_in_lanes(x, y, z, |x, y, z| term(x, y, z)[0]);
        // One pass for each sum: with two in one, the compiler vectorises across the sums, not
        // along the lanes.
        if let Some(total) = total.get_mut(1) {
            *total += sum_in_lanes(x, y, z, |x, y, z| term(x, y, z)[1]);
        }
    }
    total
}

#[inline(always)]
fn sum_in_lanes<T: Element>(
    x: &[T],
    y: &[T],
    z: &[T],
    term: impl Fn(T::Real, T::Real, T::Real) -> T::Real,
) -> f64 {
    let mut lanes = [T::Real::ZERO; LANES];
    let (xs, x_rest) = x.as_chunks::<LANES>();
    let (ys, y_rest) = y.as_chunks::<LANES>();
    let (zs, z_rest) = z.as_chunks::<LANES>();
    for ((x, y), z) in xs.iter().zip(ys).zip(zs) {
        for lane in 0..LANES {
            lanes[lane] += term(x[lane].up(), y[lane].up(), z[lane].up());
        }
    }
    for (lane, ((x, y), z)) in lanes.iter_mut().zip(x_rest.iter().zip(y_rest).zip(z_rest)) {
        *lane += term(x.up(), y.up(), z.up());
    }
    // In a function of its own: together with the code that adds the lanes up, the compiler uses
    // shorter vectors and shuffles.
    fold(black_box(lanes)).to_f64()
}

/// The sum of the lanes, by halves.
#[inline(always)]
fn fold<R: Real>(mut lanes: [R; LANES]) -> R {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_agree_with_f64() {
        for len in [0, 1, 15, 16, 17, 4095, 4096, 4097, 10_000] {
            let x: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin()).collect();
            let y: Vec<f32> = (0..len).map(|i| (i as f32 * 0.11).cos()).collect();
            let expected: f64 = x.iter().zip(&y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            let count = x.len() as f64;
            let [sum, ones] = sum2(&x, &y, |x, y| [x * y, 1.0]);
            assert!((sum - expected).abs() < 1e-6 * count.max(1.0), "{len}: {sum} {expected}");
            assert_eq!(ones, count);
        }
    }
}
