//! Softmax of rows.

use candle_core::WithDType;

use super::{Element, Numbers, NumbersMut, Real, map_rows, sum1, sum2};

/// `exp(x - max) / sum(exp(x - max))` of each row of `len` elements.
pub(crate) fn forward<T: Element>(x: &[T], len: usize) -> Vec<T> {
    let mut y = vec![T::zero(); x.len()];
    forward_to(T::numbers_mut(&mut y), T::numbers(x), len);
    y
}

fn forward_to<R: Real>(y: NumbersMut<'_, R>, x: Numbers<'_, R>, len: usize) {
    map_rows(
        y,
        [x],
        len,
        || vec![R::ZERO; len],
        #[inline(always)]
        |exps, _, out, [x]| {
            exps_of(x, exps);
            let scale = R::from_f64(sum1(exps, |exp| [exp])[0].recip());
            for (out, exp) in out.iter_mut().zip(exps) {
                *out = *exp * scale;
            }
        },
    );
}

/// `dx = y * (grad - sum(grad * y))`.
pub(crate) fn backward<T: Element>(y: &[T], grad: &[T], len: usize) -> Vec<T> {
    let mut dx = vec![T::zero(); y.len()];
    backward_to(T::numbers_mut(&mut dx), [y, grad].map(T::numbers), len);
    dx
}

fn backward_to<R: Real>(dx: NumbersMut<'_, R>, operands: [Numbers<'_, R>; 2], len: usize) {
    map_rows(
        dx,
        operands,
        len,
        || (),
        #[inline(always)]
        |(), _, out, [y, grad]| {
            let dot = R::from_f64(sum2(y, grad, |y, g| [y * g])[0]);
            for ((out, &y), &g) in out.iter_mut().zip(y).zip(grad) {
                *out = y * (g - dot);
            }
        },
    );
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
