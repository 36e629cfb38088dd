//! Measures an update block by block, while a block is in the first-level cache.

use super::tally::{Sums, Tally};
use crate::kernel::{Element, Real, half_wide, sum1, sum2};

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
        let before = &self.before[..theta.len()];
        if let Some(sums) = &mut self.tally.gradient {
            sums.add(norms(grad));
        }
        if let Some(sums) = &mut self.tally.update {
            sums.add(norms_between(theta, before));
        }
        if let Some(sums) = &mut self.tally.weight {
            sums.add(norms(theta));
        }
        if let Some(sum) = &mut self.tally.relative {
            *sum += relative(theta, before);
        }
    }
}

fn norms<T: Real>(x: &[T]) -> Sums {
    let quick = half_wide(
        #[inline(always)]
        || sum1(x, |x| [x.abs(), x * x]),
    );
    sure(quick).unwrap_or_else(|| norms_in_f64(x.iter().map(|x| x.to_f64())))
}

fn norms_between<T: Real>(after: &[T], before: &[T]) -> Sums {
    let quick = half_wide(
        #[inline(always)]
        || {
            sum2(after, before, |after, before| {
                let update = after - before;
                [update.abs(), update * update]
            })
        },
    );
    let pairs = after.iter().zip(before);
    let updates = pairs.map(|(after, before)| after.to_f64() - before.to_f64());
    sure(quick).unwrap_or_else(|| norms_in_f64(updates))
}

/// The sum of `|after - before| / |before|`.
fn relative<T: Real>(after: &[T], before: &[T]) -> f64 {
    let [quick] = half_wide(
        #[inline(always)]
        || {
            sum2(after, before, |after, before| {
                [if before == T::ZERO { T::ZERO } else { ((after - before) / before).abs() }]
            })
        },
    );
    if quick.is_finite() {
        return quick;
    }
    let share = |(after, before): (&T, &T)| match before.to_f64() {
        0.0 => 0.0,
        before => ((after.to_f64() - before) / before).abs(),
    };
    after.iter().zip(before).map(share).sum()
}

/// The sums, unless an element may have been too large or too small for a square of its type.
fn sure([l1, squares]: [f64; 2]) -> Option<Sums> {
    let fits = l1 == 0.0 || (SURE..=f64::MAX).contains(&squares);
    fits.then_some(Sums { l1, squares })
}

#[cold]
fn norms_in_f64(numbers: impl Iterator<Item = f64>) -> Sums {
    let mut sums = Sums::default();
    numbers.for_each(|x| sums.add(Sums { l1: x.abs(), squares: x * x }));
    sums
}
