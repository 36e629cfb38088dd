//! The beginning of an epoch.

use std::time::Instant;

use super::epoch::Epoch;
use super::training::Training;
use crate::cache::ActivationCache;
use crate::error::{Error, Result};
use crate::model::Freezable;

impl<M: Freezable> Training<M> {
    /// Returns the next epoch, or the unfinished one; `None` when the run is over. After a resume from what was
    /// saved behind an epoch's last batch that is this epoch with no batch left, whose
    /// [`epoch_end`](Self::epoch_end) is still to come.
    ///
    /// # Errors
    ///
    /// No [`length`](Self::length) is set, a trained variable has no optimizer, or the last epoch's
    /// batches are done and [`epoch_end`](Self::epoch_end) was not called; or, before the first
    /// epoch, the folder has checkpoints that the run was not resumed from, or the run could not be
    /// saved.
    pub fn next_epoch(&mut self) -> Result<Option<Epoch>> {
        let ready = self.check_ready();
        self.join(ready)?;
        if self.clock.is_over() {
            self.finish_sinks();
            return Ok(None);
        }
        let can_begin = self.check_begin();
        self.all_can("beginning", can_begin)?;
        self.begin_together()?;
        let began = self.begin_policy();
        self.telling(began)?;
        let anew = !self.clock.within || self.came_back;
        self.clock.begin_epoch()?;
        self.recheck_cache();
        // An epoch whose loop was left goes on counting.
        if anew {
            self.cached = self.cache.as_ref().map(ActivationCache::stats).unwrap_or_default();
        }
        self.forget_order();
        // With the first step: the forward before it has moved the cache to the frozen front.
        self.told = false;
        // Within an epoch it was done before the run was cut, by a batch that may have had another size.
        self.weighed = self.clock.batches_done() > 0;
        (self.counted, self.spent) = (Instant::now(), self.clock.spent);
        self.came_back = false;
        let length = self.clock.length;
        Ok(Some(Epoch {
            index: self.clock.epoch,
            epochs: length.epochs,
            batches: length.batches,
            done: self.clock.batches_done(),
            seed: self.clock.seed,
        }))
    }

    /// An error unless the next epoch can begin.
    fn check_ready(&mut self) -> Result<()> {
        self.check_whole()?;
        self.ready()?;
        match self.clock.epoch_is_full() && !self.came_back {
            true => Err(Error::training("the epoch's batches are done; call `epoch_end`")),
            false => Ok(()),
        }
    }
}
