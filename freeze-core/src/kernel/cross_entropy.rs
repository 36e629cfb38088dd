//! The cross-entropy of rows of logits.

use candle_core::WithDType;

use super::softmax::exps_of;
use super::{Element, Real, for_blocks, map_rows, rows_per_block, split, sum1, sum2};

/// The class of every row; `None` for rows that do not count.
pub(crate) type Targets = [Option<u32>];

/// How much each class counts: that of the target by `own`, and every class by `all`, whatever the target.
pub(crate) struct Shares {
    /// For each class; empty if all count 1.
    pub(crate) own: Vec<f64>,
    /// For each class; empty if none does.
    pub(crate) all: Vec<f64>,
}

impl Shares {
    pub(crate) fn own(&self, class: u32) -> f64 {
        self.own.get(class as usize).copied().unwrap_or(1.0)
    }
}

/// The sum over the rows that count of `-ln(softmax(x))`, that of each class times its shares; and of every
/// row the largest logit and the sum of the exponentials of all less that one.
pub(crate) fn forward<T: Element>(
    x: &[T],
    classes: usize,
    targets: &Targets,
    shares: &Shares,
) -> (f64, Vec<[f64; 2]>) {
    let block = rows_per_block(classes, 1);
    let blocks = split::<T>(None, block * classes, x.len());
    let all: Vec<T::Real> = shares.all.iter().map(|&share| T::Real::from_f64(share)).collect();
    let total: f64 = shares.all.iter().sum();
    let found = for_blocks(
        blocks,
        x.len(),
        #[inline(always)]
        |index, _| {
            let mut exps = vec![T::Real::ZERO; classes];
            let rows = x[index * block * classes..].chunks_exact(classes);
            let rows = rows.zip(&targets[index * block..]).take(block);
            let mut loss = 0.0;
            let mut found = Vec::with_capacity(rows.len());
            for (x, target) in rows {
                let Some(target) = *target else {
                    found.push([0.0, 1.0]);
                    continue;
                };
                let max = exps_of(x, &mut exps);
                let [sum] = sum1(&exps, |exp| [exp]);
                let own = sum.ln() + max.to_f64() - x[target as usize].to_f64();
                loss += shares.own(target) * own;
                if !all.is_empty() {
                    // The exponentials have done their work.
                    exps.iter_mut().zip(x).for_each(|(to, x)| *to = x.up() - max);
                    loss += total * sum.ln() - sum2(&exps, &all, |x, share| [x * share])[0];
                }
                found.push([max.to_f64(), sum]);
            }
            (loss, found)
        },
    );
    let (losses, rows): (Vec<f64>, Vec<Vec<_>>) = found.into_iter().unzip();
    (losses.into_iter().sum(), rows.concat())
}

/// `factor` times the gradient of the sum, with what the forward found of the rows: each softmax times all
/// shares of its row, less those of each class; 0 for rows that do not count.
pub(crate) fn backward<T: Element>(
    x: &[T],
    classes: usize,
    targets: &Targets,
    shares: &Shares,
    rows: &[[f64; 2]],
    factor: f64,
) -> Vec<T> {
    let all: Vec<T::Real> =
        shares.all.iter().map(|&share| T::Real::from_f64(factor * share)).collect();
    let total: f64 = shares.all.iter().sum();
    map_rows(
        x.len(),
        classes,
        || (),
        #[inline(always)]
        |(), row, dx| {
            let (Some(target), [max, sum]) = (targets[row], rows[row]) else { return };
            let (x, own) = (&x[row * classes..][..classes], shares.own(target));
            let scale = factor * (own + total) / sum;
            let [max, in_real] = [max, scale].map(T::Real::from_f64);
            let exp = |x: T| (x.up() - max).exp_of_negative();
            match all.is_empty() {
                true => {
                    for (dx, &x) in dx.iter_mut().zip(x) {
                        *dx = T::down(exp(x) * in_real);
                    }
                }
                false => {
                    for ((dx, &x), &share) in dx.iter_mut().zip(x).zip(&all) {
                        *dx = T::down(exp(x) * in_real - share);
                    }
                }
            }
            let target = target as usize;
            let smooth = shares.all.get(target).copied().unwrap_or(0.0);
            let softmax = exp(x[target]).to_f64() / sum;
            dx[target] = T::from_f64(factor * (softmax * (own + total) - own - smooth));
        },
    )
}
