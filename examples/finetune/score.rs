//! How good guesses are, and how sure that is.

use std::fmt;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Accuracy and macro F1 of guesses, with 95 % intervals.
///
/// The interval of the accuracy is Wilson's (1927). That of the F1 is from the 2.5th to the 97.5th
/// percentile of 1000 samples of the same size drawn with replacement (Efron's bootstrap), with a fixed seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score {
    pub(crate) accuracy: Estimate,
    pub(crate) macro_f1: Estimate,
}

/// A value and its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

const RESAMPLES: usize = 1000;

impl Score {
    /// The score of `guesses` for the classes `truth`, of which there are `classes`. Without any, all is 0.
    pub(crate) fn of(truth: &[u32], guesses: &[u32], classes: usize) -> Self {
        let pairs: Vec<(u32, u32)> = truth.iter().copied().zip(guesses.iter().copied()).collect();
        let right = pairs.iter().filter(|(truth, guess)| truth == guess).count();
        Self { accuracy: wilson(right, pairs.len()), macro_f1: bootstrapped(&pairs, classes) }
    }
}

/// The share `right` of `all`.
pub(crate) fn wilson(right: usize, all: usize) -> Estimate {
    let (n, z) = (all.max(1) as f64, 1.959_964);
    let value = right as f64 / n;
    let middle = (value + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (value * (1.0 - value) / n + z * z / (4.0 * n * n)).sqrt();
    Estimate { value, low: (middle - half).max(0.0), high: (middle + half).min(1.0) }
}

fn bootstrapped(pairs: &[(u32, u32)], classes: usize) -> Estimate {
    let value = macro_f1(pairs.iter().copied(), classes);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut drawn: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let draw = |_| pairs[rng.random_range(0..pairs.len())];
            macro_f1((0..pairs.len()).map(draw), classes)
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    let at = |share: f64| drawn[(share * (RESAMPLES - 1) as f64).round() as usize];
    Estimate { value, low: at(0.025), high: at(0.975) }
}

/// The mean of the classes' F1: twice the hits by the number of texts of the class and of guesses of it. A
/// class with neither does not count.
pub(crate) fn macro_f1(pairs: impl Iterator<Item = (u32, u32)>, classes: usize) -> f64 {
    let mut counts = vec![(0u32, 0u32); classes];
    for (truth, guess) in pairs {
        counts[truth as usize].1 += 1;
        counts[guess as usize].1 += 1;
        counts[truth as usize].0 += u32::from(truth == guess);
    }
    let counted = counts.iter().filter(|(_, all)| *all > 0);
    let f1: Vec<f64> = counted.map(|&(hits, all)| 2.0 * f64::from(hits) / f64::from(all)).collect();
    f1.iter().sum::<f64>() / f1.len().max(1) as f64
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [value, low, high] = [self.value, self.low, self.high].map(|share| 100.0 * share);
        write!(f, "{value:.1} % ({low:.1} to {high:.1})")
    }
}
