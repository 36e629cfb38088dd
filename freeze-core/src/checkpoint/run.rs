//! The parts of a run that stop and resume together.

use std::fmt;
use std::path::Path;

use super::parts::Parts;
use super::random::{Lent, Registered, Resumable};
use super::{MetricHistory, Resumed, resume, save};
use crate::error::Result;
use crate::model::{Freezable, Freezer};
use crate::optim::GradAccumulator;
use crate::plan::PlanOptimizer;
use crate::policy::{Elapsed, Schedule};

/// Everything that a run is made of, named once for saving and for resuming.
///
/// See the [module](super) for an example.
#[must_use = "nothing is saved or restored before `save` or `resume`"]
pub struct Checkpoint<'a, M> {
    pub(super) parts: Parts<'a, M>,
}

impl<'a, M: Freezable> Checkpoint<'a, M> {
    /// The model with its plan, and nothing else so far.
    pub fn of(net: &'a mut Freezer<M>) -> Self {
        let parts = Parts {
            net,
            optimizers: Vec::new(),
            schedule: None,
            generators: Vec::new(),
            history: None,
            accumulator: None,
            progress: None,
            samples: 0,
        };
        Self { parts }
    }

    /// Adds an optimizer; several are told apart by their order.
    pub fn optimizer(mut self, optimizer: &'a mut dyn PlanOptimizer) -> Self {
        self.parts.optimizers.push(optimizer);
        self
    }

    /// Adds the schedule; that of a hook is its
    /// [`schedule_mut`](crate::LayerFreezing::schedule_mut).
    pub fn schedule(self, schedule: &'a mut dyn Schedule) -> Self {
        Self { parts: Parts { schedule: Some(schedule), ..self.parts } }
    }

    /// Adds a random generator under a name.
    pub fn random(self, name: &str, generator: &'a mut impl Resumable) -> Self {
        self.registered(name, Box::new(Lent(generator)))
    }

    /// As [`random`](Self::random), for a generator whose type is not known here.
    pub(crate) fn registered(mut self, name: &str, generator: Box<dyn Registered + 'a>) -> Self {
        self.parts.generators.push((name.to_string(), generator));
        self
    }

    /// Adds the history of metrics.
    pub fn history(self, history: &'a mut MetricHistory) -> Self {
        Self { parts: Parts { history: Some(history), ..self.parts } }
    }

    /// Adds the gradients gathered since the last step, for a run that stops between micro-batches.
    pub fn accumulator(self, accumulator: &'a mut GradAccumulator) -> Self {
        Self { parts: Parts { accumulator: Some(accumulator), ..self.parts } }
    }

    /// How far training is; for saving.
    pub fn progress(self, progress: Elapsed) -> Self {
        Self { parts: Parts { progress: Some(progress), ..self.parts } }
    }

    /// How many samples training has seen; for saving.
    pub fn samples(self, samples: u64) -> Self {
        Self { parts: Parts { samples, ..self.parts } }
    }

    /// Gathers what would be saved, and saves nothing.
    pub(crate) fn check(mut self) -> Result<()> {
        save::check(&mut self.parts)
    }

    /// Saves everything to one file, which appears whole or not at all and is on the disk when the
    /// call returns.
    ///
    /// # Errors
    ///
    /// An optimizer hides its state, two parts have one name, or the file cannot be written; an older
    /// file at `path` is intact then.
    pub fn save(mut self, path: impl AsRef<Path>) -> Result<()> {
        save::save(&mut self.parts, path.as_ref())
    }

    /// As [`save`](Self::save), without the model's tensors that are bit for bit the same in `base`:
    /// a checkpoint that stands alone, or a safetensors file of weights under the field paths. What
    /// is frozen since then takes no room.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save), or `base` is damaged, a delta itself, or by whatever name or link the
    /// file at `path`.
    pub fn save_delta(mut self, path: impl AsRef<Path>, base: impl AsRef<Path>) -> Result<()> {
        save::save_delta(&mut self.parts, path.as_ref(), base.as_ref())
    }

    /// Restores everything from one file, or nothing: all is read and checked before anything
    /// changes. Model and optimizers may be on another device than they were.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is damaged, of a newer format, or of another run: every difference
    /// is listed. Nothing has changed then.
    pub fn resume(mut self, path: impl AsRef<Path>) -> Result<Resumed> {
        resume::resume(&mut self.parts, path.as_ref(), None)
    }

    /// As [`resume`](Self::resume), from a file of [`save_delta`](Self::save_delta) and its base.
    ///
    /// # Errors
    ///
    /// As [`resume`](Self::resume), or the base is not the one the file was saved against.
    pub fn resume_delta(
        mut self,
        path: impl AsRef<Path>,
        base: impl AsRef<Path>,
    ) -> Result<Resumed> {
        resume::resume(&mut self.parts, path.as_ref(), Some(base.as_ref()))
    }
}

/// The parts by name.
impl<M> fmt::Debug for Checkpoint<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = &self.parts;
        let optimizers: Vec<&str> = parts.optimizers.iter().map(|opt| opt.kind()).collect();
        let random: Vec<&String> = parts.generators.iter().map(|(name, _)| name).collect();
        f.debug_struct("Checkpoint")
            .field("plan", &parts.net.plan)
            .field("optimizers", &optimizers)
            .field("schedule", &parts.schedule.as_ref().map(|schedule| schedule.describe()))
            .field("random", &random)
            .field("metrics", &parts.history.as_ref().map(|history| history.records().len()))
            .field("accumulator", &parts.accumulator.as_ref().map(|sums| sums.bytes()))
            .field("progress", &parts.progress)
            .field("samples", &parts.samples)
            .finish()
    }
}
