//! Manages a folder of checkpoints: when to save, which to keep, which to resume from.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::best::{Best, Goal};
use super::due::{Every, counts_steps};
use super::folder::{Folder, Position};
use super::verify::verify_alone;
use super::{Checkpoint, Resumed};
use crate::error::{Error, Result, at_least_1};
use crate::model::Freezable;
use crate::policy::Elapsed;

/// Saves a run's checkpoints to its own folder and finds the one to resume from. Clones share their
/// state.
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
    folder: Folder,
    every: Every,
    keep_last: Option<usize>,
    best: Option<Best>,
    replaces_later: bool,
    /// The position of the last save or resume; `None` before the first.
    stands: Arc<Mutex<Option<Position>>>,
}

/// The checkpoint to resume from.
#[derive(Debug)]
#[non_exhaustive]
pub struct Latest {
    /// The latest complete one; `None` if there is none.
    pub path: Option<PathBuf>,
    /// Later ones that are damaged, cannot be read or are deltas, with the reason; each is traced as
    /// a warning.
    pub skipped: Vec<(PathBuf, Error)>,
}

impl Manager {
    /// A manager of `folder`, which is created if there is none and belongs to one run at a time: the
    /// first [`save`](Self::save) or [`resume`](Self::resume) removes partial files that a killed
    /// process left. Before that nothing is removed, so that another process may look at the
    /// checkpoints of a run that goes on. By default it saves after every epoch and keeps all.
    ///
    /// # Errors
    ///
    /// The folder cannot be created or read.
    pub fn new(folder: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self {
            folder: Folder::open(folder.into())?,
            every: Every::Epochs(1),
            keep_last: None,
            best: None,
            replaces_later: false,
            stands: Arc::default(),
        })
    }

    /// Makes [`save_if_due`](Self::save_if_due) save after every `n`th epoch.
    ///
    /// # Errors
    ///
    /// `n` is 0.
    pub fn save_every_epochs(self, n: usize) -> Result<Self> {
        Ok(Self { every: Every::Epochs(at_least_1("save_every_epochs", n)?), ..self })
    }

    /// Makes [`save_if_due`](Self::save_if_due) save after every `n`th optimizer step, counted over
    /// the whole run. A `Training` with several losses for a batch saves behind the last of them.
    ///
    /// # Errors
    ///
    /// `n` is 0.
    pub fn save_every_steps(self, n: usize) -> Result<Self> {
        Ok(Self { every: Every::Steps(at_least_1("save_every_steps", n)?), ..self })
    }

    /// Keeps only the `n` latest checkpoints, the best if there is a
    /// [`keep_best`](Self::keep_best), and the bases of deltas in the folder.
    ///
    /// # Errors
    ///
    /// `n` is 0.
    pub fn keep_last(self, n: usize) -> Result<Self> {
        Ok(Self { keep_last: Some(at_least_1("keep_last", n)?), ..self })
    }

    /// Also keeps the checkpoint whose latest value of `metric` is the best, the earliest of equal
    /// ones. Checkpoints without a value or with NaN are never the best. Each run that is saved
    /// must include its [`history`](Checkpoint::history); one with only other metrics is traced as
    /// a warning.
    pub fn keep_best(self, metric: &str, goal: Goal) -> Self {
        Self { best: Some(Best { metric: metric.to_string(), goal }), ..self }
    }

    /// Lets a run start again, from the beginning or an earlier point, in a folder that has later
    /// checkpoints. Each save removes those behind it, which are of the abandoned run. Those in front of the first
    /// save stay, also where the abandoned run wrote them after the point that this one goes on from: a run that is
    /// killed before its first save resumes from the last of the abandoned run.
    pub fn replace_later(self) -> Self {
        Self { replaces_later: true, ..self }
    }

    /// Saves the run under a name made from its progress, then removes checkpoints that are not to
    /// be kept, but never the new one. Files that cannot be removed are traced as a warning.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::save`]; or the run has no progress; or its progress is behind what this
    /// manager last resumed or saved, or, before either, not ahead of the folder's checkpoints,
    /// unless [`replace_later`](Self::replace_later) is set; or a file to be removed for that is
    /// the base of a delta; or [`keep_best`](Self::keep_best) is set and there is no history.
    /// Nothing has been written then.
    pub fn save<M: Freezable>(&self, run: Checkpoint<'_, M>) -> Result<PathBuf> {
        let progress = progress(&run)?;
        if let Some(best) = &self.best {
            best.check(run.parts.history.as_deref())?;
        }
        let at = Position::of(progress);
        let mut stands = self.stands.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = counts_steps(progress);
        let later = self.folder.in_the_way(at, *stands, counted, self.replaces_later)?;
        if stands.is_none() {
            self.folder.clean();
        }
        let path = self.folder.0.join(at.file_name());
        run.save(&path)?;
        *stands = Some(at);
        if !later.is_empty() {
            self.folder.remove(&later)?;
        }
        self.prune(at)?;
        Ok(path)
    }

    /// Saves the run if it is due by its progress. Call it after every epoch, or after every step
    /// with [`save_every_steps`](Self::save_every_steps).
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save), or steps are to be counted and the progress has none.
    pub fn save_if_due<M: Freezable>(&self, run: Checkpoint<'_, M>) -> Result<Option<PathBuf>> {
        match self.every.is_due(progress(&run)?)? {
            true => self.save(run).map(Some),
            false => Ok(None),
        }
    }

    /// An error if a new run would start in a folder that has checkpoints of another.
    pub(crate) fn check_begin(&self) -> Result<()> {
        match self.checkpoints()?.last() {
            Some(path) if !self.replaces_later => Err(Error::training(format!(
                "`{}` is there already; call `resume` to go on from it, name another folder, or say \
                 `replace_later` to begin anew",
                path.display()
            ))),
            _ => Ok(()),
        }
    }

    /// An error if there are checkpoints behind `at`, from where a run goes on: it would come to them again.
    pub(crate) fn check_goes_on(&self, at: Elapsed) -> Result<()> {
        let at = Position::of(at);
        let stands = *self.stands.lock().unwrap_or_else(PoisonError::into_inner);
        let last = || self.folder.checkpoints().map(|all| all.last().map(|(last, _)| *last));
        let there = stands.map_or_else(last, |stands| Ok(Some(stands)))?;
        match there.filter(|there| *there > at && !self.replaces_later) {
            Some(there) => Err(Error::training(format!(
                "the run goes on from {at}, and `{}` has {there}, which it would come to again; say \
                 `replace_later` to go back, or name another folder",
                self.folder.0.display()
            ))),
            None => Ok(()),
        }
    }

    /// Whether [`save_if_due`](Self::save_if_due) would save now.
    pub(crate) fn is_due(&self, progress: Elapsed) -> Result<bool> {
        self.every.is_due(progress)
    }

    /// Whether [`save_if_due`](Self::save_if_due) counts steps.
    pub(crate) fn counts_steps(&self) -> bool {
        matches!(self.every, Every::Steps(_))
    }

    /// Every checkpoint in the folder, the earliest first. The files are not read.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<PathBuf>> {
        Ok(self.folder.checkpoints()?.into_iter().map(|(_, path)| path).collect())
    }

    /// The latest complete checkpoint: they are read from end to end, the latest first, until one
    /// is complete. Deltas are skipped, because they need their base.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn latest(&self) -> Result<Latest> {
        let mut skipped = Vec::new();
        for path in self.checkpoints()?.into_iter().rev() {
            match verify_alone(&path) {
                Ok(()) => return Ok(Latest { path: Some(path), skipped }),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a checkpoint is skipped");
                    skipped.push((path, error));
                }
            }
        }
        Ok(Latest { path: None, skipped })
    }

    /// Resumes the run from the latest complete checkpoint; `None` if there is none. What is damaged is
    /// passed over.
    ///
    /// # Errors
    ///
    /// As [`latest`](Self::latest) and [`Checkpoint::resume`]; or a later checkpoint is of another version's
    /// format, or there are only such that cannot be read: the run would go on without them, and replace
    /// them.
    pub fn resume<M: Freezable>(&self, run: Checkpoint<'_, M>) -> Result<Option<Resumed>> {
        let Latest { path: latest, skipped } = self.latest()?;
        let is_whole = |error: &Error| match error {
            Error::NewerFormat { .. } | Error::OlderFormat { .. } => true,
            Error::File { .. } => latest.is_none(),
            _ => false,
        };
        if let Some((_, error)) = skipped.into_iter().find(|(_, error)| is_whole(error)) {
            return Err(error);
        }
        let at = latest.as_deref().and_then(Position::of_file).unwrap_or_default();
        let resumed = latest.map(|path| run.resume(path)).transpose()?;
        let mut stands = self.stands.lock().unwrap_or_else(PoisonError::into_inner);
        if stands.replace(at).is_none() {
            self.folder.clean();
        }
        Ok(resumed)
    }

    /// The best checkpoint by the metric of [`keep_best`](Self::keep_best); `None` if it is not set
    /// or there is none. Files that cannot be read are ignored.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn best(&self) -> Result<Option<PathBuf>> {
        let Some(best) = &self.best else { return Ok(None) };
        Ok(best.of(self.checkpoints()?))
    }

    /// Removes what is not to be kept of the checkpoints up to `at`.
    fn prune(&self, at: Position) -> Result<()> {
        let Some(n) = self.keep_last else { return Ok(()) };
        let best = self.best()?;
        let upto = self.folder.checkpoints()?.into_iter().filter(|(position, _)| *position <= at);
        let old = upto.rev().skip(n).map(|(_, path)| path);
        let mut old: Vec<PathBuf> = old.filter(|path| Some(path) != best.as_ref()).collect();
        let bases = self.folder.bases_among(&old)?;
        old.retain(|path| !bases.contains(path));
        self.folder.remove(&old)
    }
}

fn progress<M>(run: &Checkpoint<'_, M>) -> Result<Elapsed> {
    run.parts.progress.ok_or_else(|| Error::Unsaved {
        what: "the run under a name of its own".into(),
        why: "it was given no progress; add `.progress(..)`".into(),
    })
}
