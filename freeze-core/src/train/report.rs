//! The reports of a run's calls.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stop::Stopped;
use crate::audit::Finding;
use crate::cache::CacheStats;
use crate::parallel::Traffic;
use crate::policy::Elapsed;
use crate::train::Report;

/// What [`step`](super::Training::step) did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// The loss.
    pub loss: f64,
    /// Whether parameters were updated: not if the batch was only accumulated, or skipped.
    pub updated: bool,
    /// The norm of all gradients before clipping, if they were clipped by norm.
    pub grad_norm: Option<f64>,
    /// What the policy did between steps, if it acted.
    pub frozen: Option<Report>,
    /// The checkpoint that was saved, if one was due.
    pub saved: Option<PathBuf>,
    /// Whether the run is stopped: leave the loop over the batches then.
    pub stopped: Option<Stopped>,
}

/// What [`epoch_end`](super::Training::epoch_end) did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EpochReport {
    /// The progress of the run.
    pub elapsed: Elapsed,
    /// The mean of the epoch's losses, without skipped ones; NaN if all were skipped.
    pub loss: f64,
    /// What the policy did, if there is one.
    pub frozen: Option<Report>,
    /// The checkpoint that was saved, if one was due.
    pub saved: Option<PathBuf>,
    /// Why the run was stopped, if it was.
    pub stopped: Option<Stopped>,
    /// The time that the epoch took.
    pub spent: Spent,
    /// What the activation cache did in the epoch, if there is one; sizes and settings are those at its end.
    pub cache: Option<CacheStats>,
    /// What this rank sent in the epoch, if the run is [`parallel`](super::Training::parallel).
    pub traffic: Option<Traffic>,
    /// Leaves that do not train as planned, found in the first step and in the first one after
    /// leaves froze or thawed; each is also a `tracing` warning. Not checked with several losses
    /// per batch.
    pub findings: Vec<Finding>,
    /// Which sinks failed since the last epoch's end, and why: each is told once, also as a `tracing` error, and
    /// gets nothing more. The run and its [`history`](super::Training::history) go on.
    pub unrecorded: Vec<String>,
}

/// The progress of a run after a batch, for a progress bar.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Completed epochs and optimizer steps.
    pub elapsed: Elapsed,
    /// Batches done in the current epoch.
    pub batch: usize,
    /// Batches in an epoch.
    pub batches: usize,
    /// The loss of the last batch.
    pub loss: f64,
    /// The mean of the epoch's losses so far.
    pub mean_loss: f64,
}

/// How the time of an epoch was spent. It does not wait for devices that work asynchronously. What is left of the
/// whole is the code between the calls: batches, losses, a forward of your own. A run that goes on within an epoch,
/// from a checkpoint or after its loop was left, counts on from the last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Spent {
    /// In the stages that [`Training::forward`](super::Training::forward) ran; a forward by
    /// [`Training::model`](super::Training::model) is not seen.
    pub forward: Duration,
    /// In the activation cache, without the stages that ran for it: finding, reading and writing records.
    pub cache: Duration,
    /// In the backward passes.
    pub backward: Duration,
    /// In clipping and updating.
    pub update: Duration,
    /// In total, from the epoch's beginning to its last batch; evaluation after that is not
    /// counted.
    pub training: Duration,
}
