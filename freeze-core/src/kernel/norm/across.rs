//! Statistics of a batch of which each of several ranks has a part.

use std::fmt;
use std::sync::Arc;

use candle_core::Result;

use super::Center;
use super::planes::Moments;

/// Replaces numbers by their sums over all ranks.
pub(crate) type SumOver = Arc<dyn Fn(&mut [f64]) -> Result<()> + Send + Sync>;

/// The ranks, and the elements that all have together in each set of planes.
#[derive(Clone)]
pub(crate) struct Across {
    sum: SumOver,
    pub(crate) count: f64,
}

impl Across {
    /// The moments over all ranks, from this rank's own over `count` elements: the mean first, and then the
    /// deviations from it.
    ///
    /// # Errors
    ///
    /// A rank failed or has other sets.
    pub(crate) fn moments(
        sum: SumOver,
        own: Moments,
        count: f64,
        center: Center,
    ) -> Result<(Moments, Self)> {
        let mut sums: Vec<f64> = own.mean.iter().map(|mean| count * mean).collect();
        sums.push(count);
        sum(&mut sums)?;
        let all = sums.pop().unwrap_or(count);
        let mean: Vec<f64> = sums.into_iter().map(|sum| sum / all).collect();
        let between = |set: usize| match center {
            Center::Mean => own.mean[set] - mean[set],
            Center::Zero => 0.0,
        };
        let mut variance: Vec<f64> = (0..mean.len())
            .map(|set| count * (own.variance[set] + between(set) * between(set)))
            .collect();
        sum(&mut variance)?;
        variance.iter_mut().for_each(|square| *square /= all);
        Ok((Moments { mean, variance }, Self { sum, count: all }))
    }

    /// Replaces both by their sums over all ranks.
    pub(super) fn add_up(&self, first: &mut [f64], second: &mut [f64]) -> Result<()> {
        let mut both = [&*first, &*second].concat();
        (self.sum)(&mut both)?;
        let (sums, others) = both.split_at(first.len());
        first.copy_from_slice(sums);
        second.copy_from_slice(others);
        Ok(())
    }
}

impl fmt::Debug for Across {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Across").field("count", &self.count).finish_non_exhaustive()
    }
}
