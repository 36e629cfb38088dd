//! Finds the best of several checkpoints.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::MetricHistory;
use super::verify::last_metric;
use crate::error::{Error, Result, near};

/// Which values of a metric are the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The lowest, such as for a loss.
    Lowest,
    /// The highest, such as for an accuracy.
    Highest,
}

impl Goal {
    /// Whether `value` is better than the best so far by more than `delta`, or there is no best
    /// yet. False for NaN.
    pub(crate) fn is_better(self, value: f64, best: Option<f64>, delta: f64) -> bool {
        match (best, self) {
            (None, _) => !value.is_nan(),
            (Some(best), Self::Lowest) => value < best - delta,
            (Some(best), Self::Highest) => value > best + delta,
        }
    }
}

/// The metric that checkpoints are compared by.
#[derive(Clone, Debug)]
pub(super) struct Best {
    pub(super) metric: String,
    pub(super) goal: Goal,
}

impl Best {
    /// An error if there is no history; a warning if it has only other metrics.
    pub(super) fn check(&self, history: Option<&MetricHistory>) -> Result<()> {
        let Self { metric, .. } = self;
        let Some(history) = history else {
            let why = "the history, which has its values, was not handed over; add `.history(..)`";
            let what = format!("the best by `{metric}`");
            return Err(Error::Unsaved { what, why: why.into() });
        };
        if !history.records().is_empty() && history.last(metric).is_none() {
            let names: BTreeSet<&str> =
                history.records().iter().map(|record| record.name.as_str()).collect();
            let near = near(metric, names);
            tracing::warn!(metric, near, "no checkpoint can be the best: the metric has no value");
        }
        Ok(())
    }

    /// The best of `files`, the first of equal ones. Files that cannot be read, or have no value of
    /// the metric or NaN, are ignored.
    pub(super) fn of(&self, files: Vec<PathBuf>) -> Option<PathBuf> {
        let mut best: Option<(f64, PathBuf)> = None;
        for path in files {
            let Ok(Some(value)) = last_metric(&path, &self.metric) else { continue };
            if self.goal.is_better(value, best.as_ref().map(|(best, _)| *best), 0.0) {
                best = Some((value, path));
            }
        }
        best.map(|(_, path)| path)
    }
}
