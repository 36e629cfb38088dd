//! A folder of checkpoints: when to save, which to keep, where to go on.

use std::fs;
use std::path::{Path, PathBuf};

use super::atomic::{PARTIAL, file_error, sync_folder};
use super::verify::{last_metric, verify};
use super::{Checkpoint, Resumed};
use crate::{Elapsed, Error, Freezable, Result};

/// Saves a run's checkpoints to a folder of its own and finds the one to go on from.
///
/// ```no_run
/// # use candle_nn::Linear;
/// # use freeze_core::{Elapsed, Freezer, checkpoint::{Checkpoint, Goal, Manager, MetricHistory}};
/// # fn run(mut net: Freezer<Linear>, mut history: MetricHistory) -> freeze_core::Result<()> {
/// let manager = Manager::new("runs/7")?
///     .save_every_epochs(2)?
///     .keep_last(3)?
///     .keep_best("valid/loss", Goal::Lowest);
/// let resumed = manager.resume(Checkpoint::of(&mut net).history(&mut history))?;
/// let start = resumed.map_or(0, |resumed| resumed.progress.epoch);
/// for epoch in start..10 {
///     // train
///     let run = Checkpoint::of(&mut net).history(&mut history);
///     manager.save_if_due(run.progress(Elapsed::new(epoch + 1, 10)))?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Manager {
    folder: PathBuf,
    every: Every,
    keep_last: Option<usize>,
    best: Option<(String, Goal)>,
}

/// Which values of a metric are the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The lowest, as of a loss.
    Lowest,
    /// The highest, as of an accuracy.
    Highest,
}

/// The checkpoint to go on from.
#[derive(Debug)]
#[non_exhaustive]
pub struct Latest {
    /// The latest whole one; `None` if there is none.
    pub path: Option<PathBuf>,
    /// Later ones that are damaged or cannot be read, with the reason; each is traced as a warning.
    pub skipped: Vec<(PathBuf, Error)>,
}

#[derive(Clone, Copy, Debug)]
enum Every {
    Epochs(usize),
    Steps(usize),
}

impl Manager {
    /// A manager of `folder`, which is made if there is none and belongs to one run at a time:
    /// what a killed process left half-written in it is removed. Saves after every epoch and keeps
    /// all, unless told otherwise.
    ///
    /// # Errors
    ///
    /// The folder cannot be made or read.
    pub fn new(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)
            .map_err(|error| file_error(&folder, "make the folder", error))?;
        let this = Self { folder, every: Every::Epochs(1), keep_last: None, best: None };
        for path in this.entries()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(".epoch-") && name.ends_with(PARTIAL) {
                remove(&path);
            }
        }
        Ok(this)
    }

    /// [`save_if_due`](Self::save_if_due) saves after every `n`th epoch.
    ///
    /// # Errors
    ///
    /// `n` is 0.
    pub fn save_every_epochs(self, n: usize) -> Result<Self> {
        Ok(Self { every: Every::Epochs(positive("save_every_epochs", n)?), ..self })
    }

    /// [`save_if_due`](Self::save_if_due) saves after every `n`th optimizer step, counted over the
    /// whole run.
    ///
    /// # Errors
    ///
    /// `n` is 0.
    pub fn save_every_steps(self, n: usize) -> Result<Self> {
        Ok(Self { every: Every::Steps(positive("save_every_steps", n)?), ..self })
    }

    /// Keeps only the `n` latest checkpoints, and the best if there is a
    /// [`keep_best`](Self::keep_best).
    ///
    /// # Errors
    ///
    /// `n` is 0.
    pub fn keep_last(self, n: usize) -> Result<Self> {
        Ok(Self { keep_last: Some(positive("keep_last", n)?), ..self })
    }

    /// Also keeps the checkpoint whose latest value of `metric` is the best, the earliest of equal
    /// ones; NaN is never the best. Each run that is saved must have the metric in its
    /// [`history`](Checkpoint::history).
    pub fn keep_best(self, metric: &str, goal: Goal) -> Self {
        Self { best: Some((metric.to_string(), goal)), ..self }
    }

    /// Saves the run under a name made of its progress, then removes what is not to be kept. What
    /// cannot be removed is traced as a warning.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::save`], or the run's history lacks the metric of
    /// [`keep_best`](Self::keep_best).
    pub fn save<M: Freezable>(&self, run: Checkpoint<'_, M>) -> Result<PathBuf> {
        if let Some((metric, _)) = &self.best {
            let history = run.history.as_deref();
            if history.and_then(|history| history.last(metric)).is_none() {
                let why = "the history has no value of it; record one and hand the history over";
                let what = format!("the best by `{metric}`");
                return Err(Error::Unsaved { what, why: why.into() });
            }
        }
        let Elapsed { epoch, step, .. } = run.progress;
        let path = self.folder.join(format!("epoch-{epoch:06}-step-{step:010}.safetensors"));
        run.save(&path)?;
        self.prune()?;
        Ok(path)
    }

    /// Saves the run if its progress says that it is time: call it after every epoch, or after every
    /// step with [`save_every_steps`](Self::save_every_steps).
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save).
    pub fn save_if_due<M: Freezable>(&self, run: Checkpoint<'_, M>) -> Result<Option<PathBuf>> {
        let (done, every) = match self.every {
            Every::Epochs(every) => (run.progress.epoch, every),
            Every::Steps(every) => (run.progress.step, every),
        };
        match done > 0 && done.is_multiple_of(every) {
            true => self.save(run).map(Some),
            false => Ok(None),
        }
    }

    /// Every checkpoint in the folder, the earliest first; none of them is read.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<PathBuf>> {
        let entries = self.entries()?.into_iter();
        let mut found: Vec<_> = entries.filter_map(|path| Some((position(&path)?, path))).collect();
        found.sort();
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }

    /// The latest whole checkpoint, each being read from end to end until one is.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn latest(&self) -> Result<Latest> {
        let mut skipped = Vec::new();
        for path in self.checkpoints()?.into_iter().rev() {
            match verify(&path) {
                Ok(_) => return Ok(Latest { path: Some(path), skipped }),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a checkpoint is skipped");
                    skipped.push((path, error));
                }
            }
        }
        Ok(Latest { path: None, skipped })
    }

    /// Resumes the run from the latest whole checkpoint; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`latest`](Self::latest) and [`Checkpoint::resume`].
    pub fn resume<M: Freezable>(&self, run: Checkpoint<'_, M>) -> Result<Option<Resumed>> {
        self.latest()?.path.map(|path| run.resume(path)).transpose()
    }

    /// The best checkpoint by the metric of [`keep_best`](Self::keep_best); `None` without one.
    /// Those that cannot be read are left out.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn best(&self) -> Result<Option<PathBuf>> {
        let Some((metric, goal)) = &self.best else { return Ok(None) };
        let mut best: Option<(f64, PathBuf)> = None;
        for path in self.checkpoints()? {
            let Ok(Some(value)) = last_metric(&path, metric) else { continue };
            let better = match (&best, goal) {
                _ if value.is_nan() => false,
                (None, _) => true,
                (Some((best, _)), Goal::Lowest) => value < *best,
                (Some((best, _)), Goal::Highest) => value > *best,
            };
            if better {
                best = Some((value, path));
            }
        }
        Ok(best.map(|(_, path)| path))
    }

    fn prune(&self) -> Result<()> {
        let Some(n) = self.keep_last else { return Ok(()) };
        let (all, best) = (self.checkpoints()?, self.best()?);
        let old = all.iter().rev().skip(n).filter(|path| Some(*path) != best.as_ref());
        old.for_each(|path| remove(path));
        sync_folder(&self.folder).map_err(|error| file_error(&self.folder, "sync", error))
    }

    fn entries(&self) -> Result<Vec<PathBuf>> {
        let fault = |error| file_error(&self.folder, "read the folder", error);
        let entries = fs::read_dir(&self.folder).map_err(fault)?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(fault)).collect()
    }
}

/// Epoch and step that a checkpoint's name says; `None` for any other file.
fn position(path: &Path) -> Option<(usize, usize)> {
    let name = path.file_name()?.to_str()?.strip_prefix("epoch-")?;
    let (epoch, step) = name.strip_suffix(".safetensors")?.split_once("-step-")?;
    Some((epoch.parse().ok()?, step.parse().ok()?))
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "an old file could not be removed");
    }
}

fn positive(name: &'static str, n: usize) -> Result<usize> {
    match n {
        0 => Err(Error::Number { name, value: 0.0, expected: "at least 1" }),
        n => Ok(n),
    }
}
