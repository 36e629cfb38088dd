//! The cross-entropy of rows of logits.

use candle_core::WithDType;

use super::softmax::exps_of;
use super::{Element, Real, for_blocks, rows_per_block, split, sum1};

/// The class of every row; `None` for rows that do not count.
pub(crate) type Targets = [Option<u32>];

/// The sum of `-ln(softmax(x)[target])` over the rows that count; and for every row the largest
/// logit and the sum of `exp(logit - largest)`.
pub(crate) fn forward<T: Element>(
    x: &[T],
    classes: usize,
    targets: &Targets,
) -> (f64, Vec<[f64; 2]>) {
    let block = rows_per_block(classes, 1);
    let blocks = split::<T>(None, block * classes, x.len());
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
                loss += sum.ln() + max.to_f64() - x[target as usize].to_f64();
                found.push([max.to_f64(), sum]);
            }
            (loss, found)
        },
    );
    let (losses, rows): (Vec<f64>, Vec<Vec<_>>) = found.into_iter().unzip();
    (losses.into_iter().sum(), rows.concat())
}

/// `(softmax - 1 at the target) * share`, from the forward's statistics of the rows; 0 for those
/// that do not count.
pub(crate) fn backward<T: Element>(
    x: &[T],
    classes: usize,
    targets: &Targets,
    rows: &[[f64; 2]],
    share: f64,
) -> Vec<T> {
    let block = rows_per_block(classes, 1);
    let mut dx = vec![T::from_f64(0.0); x.len()];
    for_blocks(
        split(Some(&mut dx), block * classes, x.len()),
        x.len(),
        #[inline(always)]
        |index, dx| {
            let logits = x[index * block * classes..].chunks_exact(classes);
            let rows = targets[index * block..].iter().zip(&rows[index * block..]);
            let each = dx.chunks_exact_mut(classes).zip(logits).zip(rows);
            for ((dx, x), (target, &[max, sum])) in each {
                let Some(target) = *target else { continue };
                let [max, scale] = [max, share / sum].map(T::Real::from_f64);
                for (dx, x) in dx.iter_mut().zip(x) {
                    *dx = T::down((x.up() - max).exp_of_negative() * scale);
                }
                let target = target as usize;
                let exp = (x[target].up() - max).exp_of_negative().to_f64();
                dx[target] = T::from_f64(share * (exp / sum - 1.0));
            }
        },
    );
    dx
}
