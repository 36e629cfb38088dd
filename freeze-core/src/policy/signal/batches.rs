//! The mean over the first batches of each epoch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::memory::ByLeaf;
use crate::policy::{Elapsed, Moment};

/// A quantity of each leaf over the first batches of the present epoch, and its mean over those of the
/// epoch before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FirstBatches {
    /// The epochs completed when the last batch was seen; `None` before the first.
    epoch: Option<usize>,
    /// How many of the epoch's batches were seen.
    batches: usize,
    /// The step of the last of them.
    step: usize,
    /// The sum of each leaf, and over how many batches.
    sums: BTreeMap<usize, (f64, u32)>,
    /// The means of the epoch before.
    last: Option<ByLeaf>,
}

/// What is known at one point of the run.
pub(super) struct Known {
    /// The last means; `None` before the first epoch's are whole.
    pub(super) means: Option<ByLeaf>,
    /// Whether the batches that are measured are over in this epoch.
    pub(super) is_measured: bool,
}

impl FirstBatches {
    /// Whether the step after `at` is one of the first `limit` of its epoch.
    pub(super) fn wants(&self, at: Elapsed, limit: usize) -> bool {
        self.epoch != Some(at.epoch) || self.batches < limit
    }

    /// Takes the numbers of a step.
    pub(super) fn take(&mut self, at: Elapsed, numbers: ByLeaf, limit: usize) {
        if self.epoch != Some(at.epoch) {
            let last = self.means().or(self.last.take());
            *self = Self { epoch: Some(at.epoch), last, ..Self::default() };
        }
        if self.batches < limit {
            (self.batches, self.step) = (self.batches + 1, at.step);
            for (leaf, number) in numbers {
                let (sum, count) = self.sums.entry(leaf).or_default();
                (*sum, *count) = (*sum + number, *count + 1);
            }
        }
    }

    /// Whether there is something new: at the start of a run, at the ends of epochs, and after the
    /// last of the first `limit` batches.
    pub(super) fn is_due(&self, at: Elapsed, moment: Moment, limit: usize) -> bool {
        moment != Moment::Step || self.batches == limit && self.step == at.step
    }

    pub(super) fn known(&self, at: Elapsed, limit: usize) -> Known {
        let (is_this, is_whole) = (self.epoch == Some(at.epoch), self.batches >= limit);
        let means = match is_whole || !is_this {
            true => self.means().or_else(|| self.last.clone()),
            false => self.last.clone(),
        };
        Known { means, is_measured: is_this && is_whole }
    }

    fn means(&self) -> Option<ByLeaf> {
        let mean = |(&leaf, &(sum, count)): (&usize, &(f64, u32))| (leaf, sum / f64::from(count));
        (self.batches > 0).then(|| self.sums.iter().map(mean).collect())
    }
}
