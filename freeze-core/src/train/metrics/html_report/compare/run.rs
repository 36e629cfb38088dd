//! One of the runs that are compared.

use super::super::record::Record;
use crate::checkpoint::Goal;

#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) name: String,
    /// Seconds of training, and the metric then.
    pub(super) points: Vec<(f64, f64)>,
    /// What its report holds besides.
    pub(super) record: Option<Record>,
}

impl Run {
    /// The seconds until the metric came to `value`; `None` if it did not.
    pub(super) fn time_to(&self, goal: Goal, value: f64) -> Option<f64> {
        let is_there = |found: f64| match goal {
            Goal::Highest => found >= value,
            Goal::Lowest => found <= value,
        };
        self.points.iter().find(|point| is_there(point.1)).map(|point| point.0)
    }

    /// Seconds and metric at its end.
    pub(super) fn end(&self) -> Option<(f64, f64)> {
        self.points.last().copied()
    }

    /// The share of leaves that trained, over time; `None` where it is not known.
    pub(super) fn trained(&self) -> Option<f64> {
        let record = self.record.as_ref().filter(|record| !record.leaves.is_empty())?;
        record.share_trained()
    }
}
