//! Normalisation of every row by its own statistics, with a weight per position: layer norm and
//! root-mean-square norm.

use super::{Center, not_negative};
use crate::kernel::{
    Element, Numbers, NumbersMut, Real, for_blocks, rows_per_block, sum1, sum3, wide,
};

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
fn stats<R: Real>(x: &[R], eps: f64, center: Center) -> RowStats {
    let len = x.len() as f64;
    let (mean, rest, square) = match center {
        Center::Mean => {
            let mean = R::from_f64(sum1(x, |x| [x])[0] / len);
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
    let mut y = vec![T::zero(); x.len()];
    let (to, x, bias) = (T::numbers_mut(&mut y), T::numbers(x), bias.map(T::numbers));
    let stats = forward_to(to, x, T::numbers(weight), bias, eps, center);
    (y, stats)
}

fn forward_to<R: Real>(
    y: NumbersMut<'_, R>,
    x: Numbers<'_, R>,
    weight: Numbers<'_, R>,
    bias: Option<Numbers<'_, R>>,
    eps: f64,
    center: Center,
) -> Vec<RowStats> {
    let len = weight.len();
    let (mut weight_room, mut bias_room) = Default::default();
    let weight = weight.all(&mut weight_room);
    let bias = bias.map(|bias| bias.all(&mut bias_room));
    let block = rows_per_block(len, 1) * len;
    let stats = for_blocks(Some(y), [x], block, &|_, out, [x]| {
        wide(
            #[inline(always)]
            || {
                let rows = out.chunks_exact_mut(len).zip(x.chunks_exact(len));
                let mut found = Vec::with_capacity(rows.len());
                for (out, x) in rows {
                    let stats = stats(x, eps, center);
                    let hat = hat::<R>(stats);
                    match bias {
                        Some(bias) => {
                            for (((out, &x), &w), &b) in out.iter_mut().zip(x).zip(weight).zip(bias)
                            {
                                *out = hat(x) * w + b;
                            }
                        }
                        None => {
                            for ((out, &x), &w) in out.iter_mut().zip(x).zip(weight) {
                                *out = hat(x) * w;
                            }
                        }
                    }
                    found.push(stats);
                }
                found
            },
        )
    });
    stats.concat()
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
    let mut dx = input.then(|| vec![T::zero(); x.len()]);
    let to = dx.as_deref_mut().map(T::numbers_mut);
    let operands = [x, grad].map(T::numbers);
    let [dw, db] = backward_to(to, operands, T::numbers(weight), stats, center, [weighted, biased]);
    let elements = |sums: Vec<f64>| sums.into_iter().map(T::from_f64).collect();
    [dx, weighted.then(|| elements(dw)), biased.then(|| elements(db))]
}

/// Writes the input's gradient, if there is a place for it, and returns those of weight and bias.
fn backward_to<R: Real>(
    dx: Option<NumbersMut<'_, R>>,
    x_and_grad: [Numbers<'_, R>; 2],
    weight: Numbers<'_, R>,
    stats: &[RowStats],
    center: Center,
    [weighted, biased]: [bool; 2],
) -> [Vec<f64>; 2] {
    let len = weight.len();
    let mut room = Vec::new();
    let weight = weight.all(&mut room);
    // At least 16 rows share the sums of the gradients of weight and bias, but no more than can be
    // added one by one accurately.
    let block = rows_per_block(len, 16).min(1 << 12) * len;
    let sums = for_blocks(dx, x_and_grad, block, &|index, dx, [x, grad]| {
        wide(
            #[inline(always)]
            || {
                let mut dw = vec![R::ZERO; if weighted { len } else { 0 }];
                let mut db = vec![R::ZERO; if biased { len } else { 0 }];
                let rows = x.chunks_exact(len).zip(grad.chunks_exact(len));
                let mut dx = dx.chunks_exact_mut(len);
                for ((x, grad), &stats) in rows.zip(&stats[index * block / len..]) {
                    if let Some(dx) = dx.next() {
                        input_row(dx, x, weight, grad, stats, center);
                    }
                    let hat = hat::<R>(stats);
                    for ((dw, &x), &g) in dw.iter_mut().zip(x).zip(grad) {
                        *dw += g * hat(x);
                    }
                    for (db, &g) in db.iter_mut().zip(grad) {
                        *db += g;
                    }
                }
                (dw, db)
            },
        )
    });
    let (dw, db): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
    [dw, db].map(|parts| add_up(parts, len))
}

#[inline(always)]
fn input_row<R: Real>(
    dx: &mut [R],
    x: &[R],
    weight: &[R],
    grad: &[R],
    stats: RowStats,
    center: Center,
) {
    let hat = hat::<R>(stats);
    let [h, h_hat] = sum3(x, grad, weight, |x, g, w| {
        let h = g * w;
        [h, h * hat(x)]
    });
    let len = x.len() as f64;
    let rstd = R::from_f64(stats.rstd);
    let slope = R::from_f64(-stats.rstd * h_hat / len);
    let offset = match center {
        Center::Mean => R::from_f64(-stats.rstd * h / len),
        Center::Zero => R::ZERO,
    };
    for (((dx, &x), &g), &w) in dx.iter_mut().zip(x).zip(grad).zip(weight) {
        *dx = g * w * rstd + hat(x) * slope + offset;
    }
}

#[inline(always)]
fn hat<R: Real>(stats: RowStats) -> impl Fn(R) -> R + Copy {
    let [center, shift, rstd] = [stats.center, stats.shift, stats.rstd].map(R::from_f64);
    move |x| (x - center) * rstd + shift
}

/// The blocks' sums added up in order.
fn add_up<R: Real>(parts: Vec<Vec<R>>, len: usize) -> Vec<f64> {
    let mut total = vec![0.0; len];
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part.to_f64();
        }
    }
    total
}
