//! Softmax of rows.

use candle_core::WithDType;

use super::{Element, Real, for_blocks, rows_per_block, split, sum1, sum2};

/// `exp(x - max) / sum(exp(x - max))` of each row of `len` elements.
pub(crate) fn forward<T: Element>(x: &[T], len: usize) -> Vec<T> {
    let block = rows_per_block(len, 1) * len;
    let mut out = vec![T::from_f64(0.0); x.len()];
    for_blocks(
        split(Some(&mut out), block, x.len()),
        x.len(),
        #[inline(always)]
        |index, out| {
            let mut exps = vec![T::Real::ZERO; len];
            for (out, x) in out.chunks_exact_mut(len).zip(x[index * block..].chunks_exact(len)) {
                exps_of(x, &mut exps);
                let scale = T::Real::from_f64(sum1(&exps, |exp| [exp])[0].recip());
                for (out, exp) in out.iter_mut().zip(&exps) {
                    *out = T::down(*exp * scale);
                }
            }
        },
    );
    out
}

/// `dx = y * (grad - sum(grad * y))`.
pub(crate) fn backward<T: Element>(y: &[T], grad: &[T], len: usize) -> Vec<T> {
    let block = rows_per_block(len, 1) * len;
    let mut out = vec![T::from_f64(0.0); y.len()];
    for_blocks(
        split(Some(&mut out), block, y.len()),
        y.len(),
        #[inline(always)]
        |index, out| {
            let rows =
                y[index * block..].chunks_exact(len).zip(grad[index * block..].chunks_exact(len));
            for (out, (y, grad)) in out.chunks_exact_mut(len).zip(rows) {
                let dot = T::Real::from_f64(sum2(y, grad, |y, g| [y * g])[0]);
                for ((out, y), g) in out.iter_mut().zip(y).zip(grad) {
                    *out = T::down(y.up() * (g.up() - dot));
                }
            }
        },
    );
    out
}

/// Writes `exp(x - max)` of a row and returns the largest element.
#[inline(always)]
pub(crate) fn exps_of<T: Element>(x: &[T], exps: &mut [T::Real]) -> T::Real {
    let max = max(x);
    for (exp, x) in exps.iter_mut().zip(x) {
        *exp = (x.up() - max).exp_of_negative();
    }
    max
}

/// The largest element, in lanes like the sums. NaN is ignored here: its own exponential is NaN.
#[inline(always)]
pub(super) fn max<T: Element>(x: &[T]) -> T::Real {
    let larger = |a: T::Real, b: T::Real| if b > a { b } else { a };
    let mut lanes = [T::Real::from_f64(f64::NEG_INFINITY); 8];
    let (chunks, rest) = x.as_chunks::<8>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, x.up());
        }
    }
    let rest = rest.iter().fold(lanes[0], |max, x| larger(max, x.up()));
    lanes.into_iter().fold(rest, larger)
}
