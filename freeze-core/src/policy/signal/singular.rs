//! The score of a matrix by its singular values.

use faer::Mat;

use super::quiet::interpolated;
use crate::error::{Error, Result};

/// How much of a matrix stands out of its noise: Spectrum's score.
///
/// With `S` the singular values of a matrix of `n x m`:
///
/// ```text
/// sigma     = (q75(S) - q25(S)) / 1.349, with linear interpolation
/// threshold = sigma * (1 + sqrt(min(n, m) / max(n, m)))
/// snr       = sum of S above threshold / sum of the other S
/// score     = snr / largest S
/// ```
///
/// Where nothing is left below the threshold, or only zeros, the sum of the noise counts as 1. A matrix
/// of zeros has score 0.
///
/// ```
/// use freeze_core::policy::SingularScore;
///
/// let diagonal = [4.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
/// let score = SingularScore::of(&diagonal, 3, 3)?;
/// assert!((score.snr - 2.0).abs() < 1e-12 && (score.score - 0.5).abs() < 1e-12);
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SingularScore {
    /// The singular values, from the largest.
    pub values: Vec<f64>,
    /// The width of the noise.
    pub sigma: f64,
    /// The singular value above which there is signal.
    pub threshold: f64,
    /// Signal to noise.
    pub snr: f64,
    /// Signal to noise relative to the largest singular value.
    pub score: f64,
}

impl SingularScore {
    /// The score of a matrix, row by row.
    ///
    /// # Errors
    ///
    /// There are not `rows * columns` numbers, at least 1, or the singular values cannot be computed, as
    /// of numbers that are infinite or NaN.
    pub fn of(matrix: &[f64], rows: usize, columns: usize) -> Result<Self> {
        if matrix.is_empty() || rows.checked_mul(columns) != Some(matrix.len()) {
            return Err(Error::count("matrix", matrix.len(), "`rows` times `columns`, at least 1"));
        }
        let entry = |row: usize, column: usize| matrix[row * columns + column];
        let values = Mat::from_fn(rows, columns, entry).singular_values();
        let values = values.ok().filter(|values| values.iter().all(|value| value.is_finite()));
        let Some(values) = values else {
            let why =
                "the singular values of a matrix could not be computed; are its numbers finite?";
            return Err(Error::policy("spectrum", why));
        };
        Ok(Self::from_values(values, rows, columns))
    }

    fn from_values(values: Vec<f64>, rows: usize, columns: usize) -> Self {
        let mut sorted = values.clone();
        let quantiles = (interpolated(&mut sorted, 75.0), interpolated(&mut sorted, 25.0));
        let sigma = quantiles.0.zip(quantiles.1).map_or(0.0, |(high, low)| (high - low) / 1.349);
        let beta = rows.min(columns) as f64 / rows.max(columns) as f64;
        let threshold = sigma * (1.0 + beta.sqrt());
        let signal: f64 = values.iter().filter(|value| **value > threshold).sum();
        let noise: f64 = values.iter().filter(|value| **value <= threshold).sum();
        let snr = if noise == 0.0 { signal } else { signal / noise };
        let largest = values.first().copied().unwrap_or(0.0);
        let score = if largest == 0.0 { 0.0 } else { snr / largest };
        Self { values, sigma, threshold, snr, score }
    }
}

/// The `trunc(n * percent / 100)` of `n` scores that are largest, the first of equal ones, best first.
pub fn best_scores(scores: &[f64], percent: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate((scores.len() as f64 * percent / 100.0) as usize);
    order
}
