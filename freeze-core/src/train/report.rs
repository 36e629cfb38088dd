//! What a run says after each call.

use std::path::PathBuf;
use std::time::Duration;

use super::stop::Stopped;
use crate::audit::Finding;
use crate::policy::Elapsed;
use crate::train::Report;

/// What [`step`](super::Training::step) did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// The loss.
    pub loss: f64,
    /// Whether parameters were updated: not by a batch that is only gathered, nor by one left out.
    pub updated: bool,
    /// The norm of all gradients before clipping, where they were clipped by norm.
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
    /// How far training is.
    pub elapsed: Elapsed,
    /// The mean of the epoch's losses, without those left out; NaN if all were.
    pub loss: f64,
    /// What the policy did, if there is one.
    pub frozen: Option<Report>,
    /// The checkpoint that was saved, if one was due.
    pub saved: Option<PathBuf>,
    /// Why no further epoch comes, if the run was stopped.
    pub stopped: Option<Stopped>,
    /// What the epoch took.
    pub spent: Spent,
    /// Leaves that do not train as planned, seen on the first step and on the first after leaves froze
    /// or thawed; each is warned of through `tracing`, too. Not looked for where several losses take
    /// turns.
    pub findings: Vec<Finding>,
}

/// How far a run is after a batch: what a progress bar shows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Completed epochs and optimizer steps.
    pub elapsed: Elapsed,
    /// Batches done in the epoch under way.
    pub batch: usize,
    /// Batches in an epoch.
    pub batches: usize,
    /// The loss of the last batch.
    pub loss: f64,
    /// The mean of the epoch's losses so far.
    pub mean_loss: f64,
}

/// Where the time of an epoch went. A device that works in the background is not waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spent {
    /// In the backward passes.
    pub backward: Duration,
    /// In clipping and updating.
    pub update: Duration,
    /// In all, from the epoch's beginning; evaluation after the last batch is not counted.
    pub training: Duration,
}
