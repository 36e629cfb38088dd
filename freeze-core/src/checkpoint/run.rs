//! The parts of a run that are saved and resumed together.

use std::fmt;
use std::path::Path;

use super::parts::Parts;
use super::random::{Lent, Registered, Resumable};
use super::{MetricHistory, Resumed, resume, save};
use crate::error::Result;
use crate::model::{Freezable, Freezer};
use crate::optim::GradAccumulator;
use crate::plan::PlanOptimizer;
use crate::policy::{Elapsed, Policy};

/// Everything that a run consists of, listed once for saving and for resuming.
///
/// See the [module](super) for an example.
#[must_use = "nothing is saved or restored before `save` or `resume`"]
pub struct Checkpoint<'a, M> {
    pub(super) parts: Parts<'a, M>,
}

impl<'a, M: Freezable> Checkpoint<'a, M> {
    /// A checkpoint of the model with its plan, without other parts.
    pub fn of(net: &'a mut Freezer<M>) -> Self {
        let parts = Parts {
            net,
            optimizers: Vec::new(),
            policy: None,
            generators: Vec::new(),
            history: None,
            accumulator: None,
            progress: None,
            samples: 0,
        };
        Self { parts }
    }

    /// Adds an optimizer; several are distinguished by their order.
    pub fn optimizer(mut self, optimizer: &'a mut dyn PlanOptimizer) -> Self {
        self.parts.optimizers.push(optimizer);
        self
    }

    /// Adds the policy. For that of a hook call [`registered_in`](crate::LayerFreezing::registered_in) of
    /// the hook instead, which also adds what it keeps for its policy between steps.
    pub fn policy(self, policy: &'a mut dyn Policy) -> Self {
        Self { parts: Parts { policy: Some(policy), ..self.parts } }
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

    /// Adds the gradients accumulated since the last step, for a run that stops between
    /// micro-batches.
    pub fn accumulator(self, accumulator: &'a mut GradAccumulator) -> Self {
        Self { parts: Parts { accumulator: Some(accumulator), ..self.parts } }
    }

    /// Sets the progress to save.
    pub fn progress(self, progress: Elapsed) -> Self {
        Self { parts: Parts { progress: Some(progress), ..self.parts } }
    }

    /// Sets the number of samples seen to save.
    pub fn samples(self, samples: u64) -> Self {
        Self { parts: Parts { samples, ..self.parts } }
    }

    /// Collects what would be saved, so that errors show, without saving it.
    pub(crate) fn check(mut self) -> Result<()> {
        save::check(&mut self.parts)
    }

    /// Saves everything to one file, which appears complete or not at all and is on the disk when
    /// the call returns.
    ///
    /// # Errors
    ///
    /// An optimizer hides its state, two parts have the same name, or the file cannot be written;
    /// an older file at `path` is unchanged then.
    pub fn save(mut self, path: impl AsRef<Path>) -> Result<()> {
        save::save(&mut self.parts, path.as_ref())
    }

    /// As [`save`](Self::save), without the model's tensors that are bit-identical in `base`: a
    /// complete checkpoint, or a safetensors file of weights by field path. Tensors that have been
    /// frozen since then take no space.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save), or `base` is damaged, a delta itself, or the same file as `path`.
    pub fn save_delta(mut self, path: impl AsRef<Path>, base: impl AsRef<Path>) -> Result<()> {
        save::save_delta(&mut self.parts, path.as_ref(), base.as_ref())
    }

    /// Restores everything from one file, or nothing: everything is read and checked before
    /// anything changes. Model and optimizers may be on another device than when saved.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is damaged, has a newer format, or belongs to another run: every
    /// difference is listed. Nothing has changed then.
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

/// Prints the names of the parts.
impl<M> fmt::Debug for Checkpoint<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = &self.parts;
        let optimizers: Vec<&str> = parts.optimizers.iter().map(|opt| opt.kind()).collect();
        let random: Vec<&String> = parts.generators.iter().map(|(name, _)| name).collect();
        f.debug_struct("Checkpoint")
            .field("plan", &parts.net.plan)
            .field("optimizers", &optimizers)
            .field("policy", &parts.policy.as_ref().map(|policy| policy.describe()))
            .field("random", &random)
            .field("metrics", &parts.history.as_ref().map(|history| history.records().len()))
            .field("accumulator", &parts.accumulator.as_ref().map(|sums| sums.bytes()))
            .field("progress", &parts.progress)
            .field("samples", &parts.samples)
            .finish()
    }
}
