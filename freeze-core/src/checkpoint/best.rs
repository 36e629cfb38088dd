//! Which of several checkpoints is the best.

use std::path::PathBuf;

use super::verify::last_metric;

/// Which values of a metric are the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The lowest, as of a loss.
    Lowest,
    /// The highest, as of an accuracy.
    Highest,
}

/// What checkpoints are compared by.
#[derive(Clone, Debug)]
pub(super) struct Best {
    pub(super) metric: String,
    pub(super) goal: Goal,
}

impl Best {
    /// The best of `files`, the first of equal ones. Those that cannot be read, have no value of the
    /// metric, or NaN, are left out.
    pub(super) fn of(&self, files: Vec<PathBuf>) -> Option<PathBuf> {
        let mut best: Option<(f64, PathBuf)> = None;
        for path in files {
            let Ok(Some(value)) = last_metric(&path, &self.metric) else { continue };
            let better = match (&best, self.goal) {
                _ if value.is_nan() => false,
                (None, _) => true,
                (Some((best, _)), Goal::Lowest) => value < *best,
                (Some((best, _)), Goal::Highest) => value > *best,
            };
            if better {
                best = Some((value, path));
            }
        }
        best.map(|(_, path)| path)
    }
}
