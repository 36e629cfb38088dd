//! Measures an update block by block, while a block is in the first-level cache.

use super::lanes::{changes, norms};
use super::tally::{Sums, Tally};
use crate::kernel::{Element, Real};

/// The elements updated at a time: five blocks of them fit into the first-level cache.
pub(super) const BLOCK: usize = 512;

/// Below this a sum of squares may have lost some that vanish in `f32`.
const SURE: f64 = 1e-30;

/// Adds up what a tally wants.
pub(super) struct Meter<'a, T> {
    tally: &'a mut Tally,
    before: [T; BLOCK],
}

impl<'a, T: Real> Meter<'a, T> {
    pub(super) fn new(tally: &'a mut Tally) -> Self {
        Self { tally, before: [T::ZERO; BLOCK] }
    }

    /// Keeps a block of the parameter as it is before its update.
    pub(super) fn begin<P: Element<Real = T>>(&mut self, theta: &[P]) {
        if self.tally.compares() {
            P::load(theta, &mut self.before[..theta.len()]);
        }
    }

    /// Adds the sums of the block that was kept last; all in the type of arithmetic.
    pub(super) fn end(&mut self, grad: &[T], theta: &[T]) {
        let compares = self.tally.compares();
        let Tally { gradient, update, weight, relative } = &mut *self.tally;
        if !compares {
            for (sums, x) in [(gradient, grad), (weight, theta)] {
                add(sums, || norms(x), in_f64(x));
            }
            return;
        }
        let before = &self.before[..theta.len()];
        let quick = changes(grad, theta, before);
        let pairs = in_f64(theta).zip(in_f64(before));
        add(gradient, || quick.gradient, in_f64(grad));
        add(update, || quick.update, pairs.clone().map(|(after, before)| after - before));
        add(weight, || quick.weight, in_f64(theta));
        if let Some(sum) = relative {
            *sum += match quick.relative.is_finite() {
                true => quick.relative,
                false => pairs.map(share).sum(),
            };
        }
    }
}

/// Adds the quick sums, unless an element may have been too large or too small for a square of its
/// type; then those of `numbers`, the same elements.
fn add(
    sums: &mut Option<Sums>,
    quick: impl FnOnce() -> [f64; 2],
    numbers: impl Iterator<Item = f64>,
) {
    let Some(sums) = sums else { return };
    let [l1, squares] = quick();
    if l1 == 0.0 || (SURE..=f64::MAX).contains(&squares) {
        return sums.add(Sums { l1, squares });
    }
    numbers.for_each(|x| sums.add(Sums { l1: x.abs(), squares: x * x }));
}

fn in_f64<T: Real>(x: &[T]) -> impl Iterator<Item = f64> + Clone {
    x.iter().map(|x| x.to_f64())
}

/// The share of an update in the parameter.
fn share((after, before): (f64, f64)) -> f64 {
    if before == 0.0 { 0.0 } else { ((after - before) / before).abs() }
}
