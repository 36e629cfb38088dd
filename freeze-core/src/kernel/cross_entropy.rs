//! The cross-entropy of rows of logits.

use candle_core::WithDType;

use super::softmax::exps_of;
use super::{
    Element, Numbers, NumbersMut, Real, for_blocks, map_rows, rows_per_block, sum1, sum2, wide,
};

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
    sum_of(T::numbers(x), classes, targets, shares)
}

fn sum_of<R: Real>(
    x: Numbers<'_, R>,
    classes: usize,
    targets: &Targets,
    shares: &Shares,
) -> (f64, Vec<[f64; 2]>) {
    let block = rows_per_block(classes, 1);
    let all: Vec<R> = shares.all.iter().map(|&share| R::from_f64(share)).collect();
    let total: f64 = shares.all.iter().sum();
    let found = for_blocks(None, [x], block * classes, &|index, _, [x]| {
        wide(
            #[inline(always)]
            || {
                let mut exps = vec![R::ZERO; classes];
                let rows = x.chunks_exact(classes).zip(&targets[index * block..]);
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
                        exps.iter_mut().zip(x).for_each(|(to, &x)| *to = x - max);
                        loss += total * sum.ln() - sum2(&exps, &all, |x, share| [x * share])[0];
                    }
                    found.push([max.to_f64(), sum]);
                }
                (loss, found)
            },
        )
    });
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
    let mut dx = vec![T::zero(); x.len()];
    let (to, all) = (T::numbers_mut(&mut dx), T::numbers(x));
    softmax_to(to, all, classes, targets, shares, (rows, factor));
    let total: f64 = shares.all.iter().sum();
    for (row, target) in targets.iter().enumerate() {
        let (&Some(target), [max, sum]) = (target, rows[row]) else { continue };
        let (at, own) = (row * classes + target as usize, shares.own(target));
        let smooth = shares.all.get(target as usize).copied().unwrap_or(0.0);
        let exp = (x[at].up() - T::Real::from_f64(max)).exp_of_negative();
        dx[at] = T::from_f64(factor * (exp.to_f64() / sum * (own + total) - own - smooth));
    }
    dx
}

/// Each row as if it had no target of its own.
fn softmax_to<R: Real>(
    dx: NumbersMut<'_, R>,
    x: Numbers<'_, R>,
    classes: usize,
    targets: &Targets,
    shares: &Shares,
    (rows, factor): (&[[f64; 2]], f64),
) {
    let all: Vec<R> = shares.all.iter().map(|&share| R::from_f64(factor * share)).collect();
    let total: f64 = shares.all.iter().sum();
    map_rows(
        dx,
        [x],
        classes,
        || (),
        #[inline(always)]
        |(), row, dx, [x]| {
            let (Some(target), [max, sum]) = (targets[row], rows[row]) else { return };
            let scale = factor * (shares.own(target) + total) / sum;
            let [max, in_real] = [max, scale].map(R::from_f64);
            let softmax = |x: R| (x - max).exp_of_negative() * in_real;
            match all.is_empty() {
                true => {
                    for (dx, &x) in dx.iter_mut().zip(x) {
                        *dx = softmax(x);
                    }
                }
                false => {
                    for ((dx, &x), &share) in dx.iter_mut().zip(x).zip(&all) {
                        *dx = softmax(x) - share;
                    }
                }
            }
        },
    );
}
