//! Stopping and going on: a checkpoint after every epoch.

use std::path::Path;

use freeze_core::checkpoint::{Checkpoint, Manager, MetricHistory};
use freeze_core::{Elapsed, Freezer, LayerFreezing, optim::AdamW};

use crate::common::Result;
use crate::net::Net;
use crate::record::Epoch;

/// The checkpoints of one run, if they are asked for.
pub(crate) struct Keeper {
    manager: Option<Manager>,
    history: MetricHistory,
}

/// What stops and goes on together.
pub(crate) struct Parts<'a> {
    pub(crate) net: &'a mut Freezer<Net>,
    pub(crate) opt: &'a mut AdamW,
    pub(crate) hook: Option<&'a mut LayerFreezing>,
}

impl Keeper {
    /// Keeps the two latest checkpoints of the run called `name` below `folder`.
    ///
    /// # Errors
    ///
    /// The folder cannot be made.
    pub(crate) fn new(folder: Option<&Path>, name: &str) -> Result<Self> {
        let below = |folder: &Path| Manager::new(folder.join(name.replace(' ', "-")))?.keep_last(2);
        Ok(Self { manager: folder.map(below).transpose()?, history: MetricHistory::default() })
    }

    /// Goes on from the latest checkpoint, if there is one; returns the epochs that are done.
    ///
    /// # Errors
    ///
    /// The checkpoint is of another run.
    pub(crate) fn resume(&mut self, parts: Parts<'_>) -> Result<Vec<Epoch>> {
        let leaves = parts.net.plan().len();
        if let Some(manager) = &self.manager {
            manager.resume(parts.checkpoint(&mut self.history))?;
        }
        Ok(Epoch::all(&self.history, leaves))
    }

    /// Refuses to begin anew where checkpoints are.
    ///
    /// # Errors
    ///
    /// There are some.
    pub(crate) fn begin(&self) -> Result<()> {
        let latest = self.manager.as_ref().map(Manager::latest).transpose()?;
        match latest.and_then(|latest| latest.path) {
            Some(path) => Err(format!(
                "{} is there already; go on from it with --resume, or name another folder",
                path.display()
            )
            .into()),
            None => Ok(()),
        }
    }

    /// Saves the run after an epoch.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn save(&mut self, epoch: &Epoch, elapsed: Elapsed, parts: Parts<'_>) -> Result<()> {
        epoch.record(&mut self.history, elapsed);
        if let Some(manager) = &self.manager {
            manager.save(parts.checkpoint(&mut self.history).progress(elapsed))?;
        }
        Ok(())
    }
}

impl<'a> Parts<'a> {
    fn checkpoint(self, history: &'a mut MetricHistory) -> Checkpoint<'a, Net> {
        let run = Checkpoint::of(self.net).optimizer(self.opt).history(history);
        match self.hook {
            Some(hook) => run.schedule(hook.schedule_mut()),
            None => run,
        }
    }
}
