//! Saves and resumes a run.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::clock::Clock;
use super::metrics::Lasting;
use super::seen::Graphs;
use super::stop::{EarlyStop, Stopped};
use super::training::Training;
use crate::checkpoint::{Checkpoint, Registered, Resumed, from_bytes, progress_of, to_bytes};
use crate::error::{Error, Result};
use crate::model::Freezable;
use crate::plan::Prepared;

/// The name under which the run's position is saved.
const CLOCK: &str = "freeze.training";

impl<M: Freezable> Training<M> {
    /// Saves the run to one file: model, plan, optimizers, schedule, generators, accumulated
    /// gradients, metrics, and its position.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::save`], or a batch is between two of its [`turns`](Self::turns).
    pub fn save(&mut self, path: impl AsRef<Path>) -> Result<()> {
        if !self.clock.batch_is_whole() {
            let why = "a batch is between two of its losses; save it after the last";
            return Err(Error::training(why));
        }
        self.check_whole()?;
        self.check_nothing_waits()?;
        let path = path.as_ref();
        let save = |run: &mut Self| {
            run.each_sink(Lasting::flush);
            run.parts().save(path).map(|()| None)
        };
        self.saved_by_first(|_| Ok(true), save).map(|_| ())
    }

    /// Resumes from the latest complete checkpoint of the manager; `None` if there is none, or no
    /// manager. The run then continues bit-identically, also within an epoch.
    ///
    /// # Errors
    ///
    /// As [`Manager::resume`](crate::checkpoint::Manager::resume), the checkpoint is beyond the
    /// run's length, or there is none and the run could not be saved; nothing has changed then. A
    /// sink that cannot drop what will be recorded again gets nothing more, and the epoch's report says so.
    pub fn resume(&mut self) -> Result<Option<Resumed>> {
        let ready = self.ready();
        self.join(ready)?;
        self.resumed_by_first(|run| {
            let Some(manager) = run.manager.clone() else { return Ok(None) };
            let resumed = manager.resume(run.parts())?;
            match resumed {
                Some(_) => run.went_back(),
                None => {
                    run.parts().check()?;
                    run.begun = true;
                }
            }
            Ok(resumed)
        })
    }

    /// As [`resume`](Self::resume), from a file of [`save`](Self::save).
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::resume`], the checkpoint is beyond the run's length, or the manager has later ones and
    /// was not told [`replace_later`](crate::checkpoint::Manager::replace_later); nothing has changed then.
    /// Sinks as for [`resume`](Self::resume).
    pub fn resume_from(&mut self, path: impl AsRef<Path>) -> Result<Resumed> {
        let ready = self.ready();
        self.join(ready)?;
        let path = path.as_ref();
        let resumed = self.resumed_by_first(|run| {
            if let Some(manager) = &run.manager {
                manager.check_goes_on(progress_of(path)?)?;
            }
            let resumed = run.parts().resume(path)?;
            run.went_back();
            Ok(Some(resumed))
        })?;
        resumed.ok_or_else(|| Error::training("rank 0 has resumed nothing"))
    }

    /// Before the first epoch of a run that was not resumed, or with a new manager: reports now what would
    /// make the first save fail after an epoch's work.
    pub(super) fn check_begin(&mut self) -> Result<()> {
        let unchecked = !self.begun || self.came_later;
        if let Some(manager) = self.manager.clone().filter(|_| unchecked) {
            match self.begun {
                true => manager.check_goes_on(self.clock.elapsed())?,
                false => manager.check_begin()?,
            }
            self.parts().check()?;
        }
        (self.begun, self.came_later) = (true, false);
        Ok(())
    }

    /// Resets state that the checkpoint does not hold, and has the sinks drop what will come again.
    pub(super) fn went_back(&mut self) {
        (self.begun, self.came_back, self.resumed) = (true, true, true);
        if let Some(policy) = &mut self.policy {
            policy.rewind();
        }
        let patient = |early: &EarlyStop| !early.is_exhausted(&self.clock.patience);
        if self.clock.stopped == Some(Stopped::Early) && self.early.as_ref().is_none_or(patient) {
            self.clock.stopped = None;
        }
        self.finished = false;
        self.set_by_hand.clear();
        self.found.clear();
        self.graphs = Graphs::default();
        (self.counted, self.spent) = (Instant::now(), self.clock.spent);
        self.mend();
        self.recheck_cache();
        self.planned();
        let at = self.clock.elapsed();
        self.each_sink(|sink| sink.resume(at));
    }

    pub(super) fn save_if_due(&mut self) -> Result<Option<PathBuf>> {
        self.saved_by_first(Self::saves_now, |run| {
            let Some(manager) = run.manager.clone() else { return Ok(None) };
            // At the end of an epoch they have written.
            if run.clock.within {
                run.each_sink(Lasting::flush);
            }
            manager.save(run.parts()).map(Some)
        })
    }

    /// Saves a run that a loss or a gradient stopped within the epoch, once: a policy that stops it saves by itself.
    pub(super) fn save_if_unfit(&mut self) -> Result<Option<PathBuf>> {
        let stopped = self.clock.stopped == Some(Stopped::NonFinite) && !self.finished;
        if stopped && self.clock.batch_is_whole() && self.check_nothing_waits().is_ok() {
            return self.save_if_due();
        }
        Ok(None)
    }

    fn saves_now(&self) -> Result<bool> {
        match &self.manager {
            // The final state is always saved.
            Some(_) if self.clock.is_over() => Ok(true),
            Some(manager) => {
                // What came due between the losses of a batch is saved behind the last of them.
                let mut due = self.clock.ends_of_steps_of_batch().map(|at| manager.is_due(at));
                due.try_fold(false, |any, due| Ok(any || due?))
            }
            None => Ok(false),
        }
    }

    /// All parts of the run.
    pub(super) fn parts(&mut self) -> Checkpoint<'_, M> {
        let elapsed = self.clock.elapsed();
        let mut parts = Checkpoint::of(&mut self.freezer).history(&mut self.history);
        for driven in &mut self.optimizers {
            parts = parts.optimizer(driven);
        }
        if let Some(policy) = &mut self.policy {
            parts = policy.registered_in(parts);
        }
        for (name, generator) in &mut self.generators {
            parts = parts.registered(name, Box::new(&mut **generator));
        }
        let clock = Box::new(Place(&mut self.clock));
        parts.accumulator(&mut self.sums).registered(CLOCK, clock).progress(elapsed)
    }
}

/// The clock, which refuses a saved one that does not fit the run's length.
struct Place<'a>(&'a mut Clock);

impl Registered for Place<'_> {
    fn save(&self) -> std::result::Result<Vec<u8>, String> {
        to_bytes(&*self.0)
    }

    fn prepare(&mut self, bytes: &[u8]) -> std::result::Result<Prepared<'_, ()>, String> {
        let clock = self.0.resumed(from_bytes(bytes)?)?;
        Ok(Prepared::new(move || *self.0 = clock))
    }
}
