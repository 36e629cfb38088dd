//! Normalisation of every row by its own statistics, with a weight per position: layer norm and
//! root-mean-square norm.

use candle_core::WithDType;

use super::{Center, not_negative};
use crate::kernel::{Element, Real, for_blocks, rows_per_block, split, sum1, sum3};

/// `x_hat = (x - center) * rstd + shift`. The mean is in two parts, because in the element's own
/// precision it is off by up to half a unit in the last place, which at a mean of 1e4 is 5e-4 in
/// f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowStats {
    center: f64,
    shift: f64,
    rstd: f64,
}

/// The mean in a first pass and the variance about it in a second (the corrected two-pass algorithm
/// of Chan, Golub and LeVeque, 1983).
#[inline(always)]
fn stats<T: Element>(x: &[T], eps: f64, center: Center) -> RowStats {
    let len = x.len() as f64;
    let (mean, rest, square) = match center {
        Center::Mean => {
            let mean = T::Real::from_f64(sum1(x, |x| [x])[0] / len);
            let [rest, square] = sum1(x, |x| {
                let d = x - mean;
                [d, d * d]
            });
            (mean.to_f64(), rest / len, square / len)
        }
        Center::Zero => (0.0, 0.0, sum1(x, |x| [x * x])[0] / len),
    };
    let rstd = (not_negative(square - rest * rest) + eps).sqrt().recip();
    RowStats { center: mean, shift: -rest * rstd, rstd }
}

/// The normalised rows of `weight.len()` elements each, and their statistics.
pub(crate) fn forward<T: Element>(
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    eps: f64,
    center: Center,
) -> (Vec<T>, Vec<RowStats>) {
    let len = weight.len();
    let block = rows_per_block(len, 1) * len;
    let mut out = vec![T::from_f64(0.0); x.len()];
    let blocks = split(Some(&mut out), block, x.len());
    let stats = for_blocks(
        blocks,
        x.len(),
        #[inline(always)]
        |index, out| {
            let rows = out.chunks_exact_mut(len).zip(x[index * block..].chunks_exact(len));
            let mut found = Vec::with_capacity(rows.len());
            for (out, x) in rows {
                let stats = stats(x, eps, center);
                let hat = hat::<T>(stats);
                match bias {
                    Some(bias) => {
                        for (((out, x), w), b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                            *out = T::down(hat(x.up()) * w.up() + b.up());
                        }
                    }
                    None => {
                        for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                            *out = T::down(hat(x.up()) * w.up());
                        }
                    }
                }
                found.push(stats);
            }
            found
        },
    );
    (out, stats.concat())
}

/// The gradients of input, weight and bias that are wanted, given that of the output. With `h = grad * weight` and means over the row:
/// `dx = rstd * (h - mean(h) - x_hat * mean(h * x_hat))`, without `mean(h)` where the mean was not
/// removed.
pub(crate) fn backward<T: Element>(
    x: &[T],
    weight: &[T],
    grad: &[T],
    stats: &[RowStats],
    center: Center,
    [input, weighted, biased]: [bool; 3],
) -> [Option<Vec<T>>; 3] {
    let len = weight.len();
    // At least 16 rows share the sums of the gradients of weight and bias, but no more than can be
    // added one by one accurately.
    let block = rows_per_block(len, 16).min(1 << 12) * len;
    let mut input = input.then(|| vec![T::from_f64(0.0); x.len()]);
    let blocks = split(input.as_deref_mut(), block, x.len());
    let sums = for_blocks(
        blocks,
        x.len(),
        #[inline(always)]
        |index, dx| {
            let mut dw = vec![T::Real::ZERO; if weighted { len } else { 0 }];
            let mut db = vec![T::Real::ZERO; if biased { len } else { 0 }];
            let range = index * block..x.len().min((index + 1) * block);
            let rows = x[range.clone()].chunks_exact(len).zip(grad[range].chunks_exact(len));
            let mut dx = dx.chunks_exact_mut(len);
            for ((x, grad), &stats) in rows.zip(&stats[index * block / len..]) {
                if let Some(dx) = dx.next() {
                    input_row(dx, x, weight, grad, stats, center);
                }
                let hat = hat::<T>(stats);
                for ((dw, x), g) in dw.iter_mut().zip(x).zip(grad) {
                    *dw += g.up() * hat(x.up());
                }
                for (db, g) in db.iter_mut().zip(grad) {
                    *db += g.up();
                }
            }
            (dw, db)
        },
    );
    let (dw, db): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
    let total = |parts: Vec<Vec<T::Real>>| add_up::<T>(parts, len);
    [input, weighted.then(|| total(dw)), biased.then(|| total(db))]
}

#[inline(always)]
fn input_row<T: Element>(
    dx: &mut [T],
    x: &[T],
    weight: &[T],
    grad: &[T],
    stats: RowStats,
    center: Center,
) {
    let hat = hat::<T>(stats);
    let [h, h_hat] = sum3(x, grad, weight, |x, g, w| {
        let h = g * w;
        [h, h * hat(x)]
    });
    let len = x.len() as f64;
    let real = T::Real::from_f64;
    let rstd = real(stats.rstd);
    let slope = real(-stats.rstd * h_hat / len);
    let offset = match center {
        Center::Mean => real(-stats.rstd * h / len),
        Center::Zero => T::Real::ZERO,
    };
    for (((dx, x), g), w) in dx.iter_mut().zip(x).zip(grad).zip(weight) {
        *dx = T::down(g.up() * w.up() * rstd + hat(x.up()) * slope + offset);
    }
}

#[inline(always)]
fn hat<T: Element>(stats: RowStats) -> impl Fn(T::Real) -> T::Real + Copy {
    let real = T::Real::from_f64;
    let (center, shift, rstd) = (real(stats.center), real(stats.shift), real(stats.rstd));
    move |x| (x - center) * rstd + shift
}

/// The blocks' sums added up in order.
fn add_up<T: Element>(parts: Vec<Vec<T::Real>>, len: usize) -> Vec<T> {
    let mut total = vec![0.0; len];
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part.to_f64();
        }
    }
    total.into_iter().map(T::from_f64).collect()
}
