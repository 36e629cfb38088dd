//! Which of several checkpoints is the best.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::MetricHistory;
use super::verify::last_metric;
use crate::error::{Error, Result, near};

/// Which values of a metric are the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The lowest, as of a loss.
    Lowest,
    /// The highest, as of an accuracy.
    Highest,
}

impl Goal {
    /// Whether `value` is better than the best so far, if there is one, by more than `delta`. NaN never
    /// is.
    pub(crate) fn is_better(self, value: f64, best: Option<f64>, delta: f64) -> bool {
        match (best, self) {
            (None, _) => !value.is_nan(),
            (Some(best), Self::Lowest) => value < best - delta,
            (Some(best), Self::Highest) => value > best + delta,
        }
    }
}

/// What checkpoints are compared by.
#[derive(Clone, Debug)]
pub(super) struct Best {
    pub(super) metric: String,
    pub(super) goal: Goal,
}

impl Best {
    /// Says whether there is a history, and warns if it has other metrics alone.
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

    /// The best of `files`, the first of equal ones. Those that cannot be read, have no value of the
    /// metric, or NaN, are left out.
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
