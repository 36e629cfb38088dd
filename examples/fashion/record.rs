//! The measurements of a run.

use std::fmt;
use std::time::{Duration, Instant};

use freeze_core::checkpoint::MetricHistory;
use freeze_core::{Freezer, Training, optim::AdamW};
use serde::{Deserialize, Serialize};

use crate::net::Net;

/// One training run.
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) epochs: Vec<Epoch>,
}

/// One epoch: what trained during it, and its cost.
#[derive(Serialize, Deserialize)]
pub(crate) struct Epoch {
    /// Leaves, counted from the front, that were frozen throughout the epoch.
    pub(crate) depth: usize,
    pub(crate) leaves: usize,
    pub(crate) trained_parameters: usize,
    /// Bytes of optimizer state held after the epoch's last step.
    pub(crate) optimizer_bytes: usize,
    /// The mean over the epoch's steps.
    pub(crate) loss: f64,
    /// On the test images, after the epoch.
    pub(crate) accuracy: f64,
    pub(crate) forward: Duration,
    pub(crate) backward: Duration,
    pub(crate) optimizer: Duration,
    /// The time of the epoch without the test.
    pub(crate) training: Duration,
}

/// Runs `work` and adds the time it takes to `total`.
pub(crate) fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}

impl Run {
    /// A quantity summed over the epochs.
    pub(crate) fn total(&self, of: impl Fn(&Epoch) -> Duration) -> Duration {
        self.epochs.iter().map(of).sum()
    }

    /// The seconds of training after each epoch, and the accuracy then.
    pub(crate) fn points(&self) -> Vec<(f64, f64)> {
        let mut seconds = 0.0;
        let point = |epoch: &Epoch| {
            seconds += epoch.training.as_secs_f64();
            (seconds, epoch.accuracy)
        };
        self.epochs.iter().map(point).collect()
    }

    /// The seconds of training, and the accuracy at the end.
    pub(crate) fn result(&self) -> (f64, f64) {
        self.points().last().copied().unwrap_or_default()
    }
}

impl Epoch {
    /// The record of an epoch that starts now.
    pub(crate) fn new(net: &Freezer<Net>) -> Self {
        Self {
            depth: net.plan().frozen_leaves(),
            leaves: net.plan().len(),
            trained_parameters: net.trained_vars().iter().map(|var| var.elem_count()).sum(),
            optimizer_bytes: 0,
            loss: 0.0,
            accuracy: 0.0,
            forward: Duration::ZERO,
            backward: Duration::ZERO,
            optimizer: Duration::ZERO,
            training: Duration::ZERO,
        }
    }
}

/// An epoch as metrics in a checkpoint.
impl Epoch {
    /// Records the cost of the run's epoch, after its last step.
    pub(crate) fn take(&mut self, run: &Training<Net>) {
        let spent = run.spent();
        (self.backward, self.optimizer, self.training) =
            (spent.backward, spent.update, spent.training);
        self.optimizer_bytes = run.optimizer_as::<AdamW>(0).map_or(0, AdamW::state_bytes);
    }

    pub(crate) fn metrics(&self) -> [(&'static str, f64); 8] {
        [
            ("depth", self.depth as f64),
            ("trained_parameters", self.trained_parameters as f64),
            ("optimizer_bytes", self.optimizer_bytes as f64),
            ("accuracy", self.accuracy),
            ("forward", self.forward.as_secs_f64()),
            ("backward", self.backward.as_secs_f64()),
            ("optimizer", self.optimizer.as_secs_f64()),
            ("training", self.training.as_secs_f64()),
        ]
    }

    /// The epochs in a history, for a model with `leaves` leaves.
    pub(crate) fn all(history: &MetricHistory, leaves: usize) -> Vec<Self> {
        let epochs = history.records().iter().map(|record| record.elapsed.epoch).max().unwrap_or(0);
        let epoch = |epoch: usize| {
            let of = |name: &str| {
                let mut records = history.records().iter();
                let found = records.find(|r| r.elapsed.epoch == epoch && r.name == name);
                found.map_or(0.0, |record| record.value)
            };
            let time = |name: &str| Duration::try_from_secs_f64(of(name)).unwrap_or_default();
            Self {
                depth: of("depth") as usize,
                leaves,
                trained_parameters: of("trained_parameters") as usize,
                optimizer_bytes: of("optimizer_bytes") as usize,
                loss: of("train/loss"),
                accuracy: of("accuracy"),
                forward: time("forward"),
                backward: time("backward"),
                optimizer: time("optimizer"),
                training: time("training"),
            }
        };
        (1..=epochs).map(epoch).collect()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} layers frozen, loss {:.4}, test accuracy {:.1} %, {:.1} s",
            self.depth,
            self.leaves,
            self.loss,
            100.0 * self.accuracy,
            self.training.as_secs_f64(),
        )
    }
}
