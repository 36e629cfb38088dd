//! Reading the records of the next batch while a step runs.

use super::training::Training;
use super::upcoming::Upcoming;
use crate::model::Freezable;

impl<M: Freezable> Training<M> {
    /// Says by their keys which batches are still to come in the epoch, so that the cache reads the records of
    /// each from its file, and copies them to a CUDA card, on a thread while the step before it runs. The order of
    /// an epoch is known in advance, so it can be asked for twice:
    ///
    /// ```no_run
    /// # use candle_core::{Result, Tensor};
    /// # use freeze_core::{Staged, Training};
    /// # fn epoch<M>(run: &mut Training<M>, batch: impl Fn(&[u32]) -> Result<(Tensor, Tensor)>) -> freeze_core::Result<()>
    /// # where M: Staged<Flow = Tensor, Context = ()> + Send + Sync + 'static {
    /// # let (samples, size) = (60_000, 32);
    /// let keys = |which: &[u32]| -> Vec<u64> { which.iter().map(|&i| u64::from(i)).collect() };
    /// while let Some(epoch) = run.next_epoch()? {
    ///     run.read_ahead(epoch.shuffled(samples, size).map(move |which| keys(&which)));
    ///     for which in epoch.shuffled(samples, size) {
    ///         let (xs, ys) = batch(&which)?;
    ///         let scores = run.forward(&keys(&which), xs, &())?;
    ///         run.step(&candle_nn::loss::cross_entropy(&scores, &ys)?)?;
    ///     }
    ///     run.epoch_end([])?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It changes no result: where another batch comes than was said, its records are read when they are
    /// needed. [`next_epoch`](Self::next_epoch) forgets it.
    pub fn read_ahead(
        &mut self,
        batches: impl IntoIterator<Item = Vec<u64>, IntoIter: Send + 'static>,
    ) {
        self.upcoming = Some(Upcoming::new(batches.into_iter()));
        self.read_next();
    }

    /// The batch with these keys has been read: starts to read the next.
    pub(super) fn has_read(&mut self, keys: &[u64]) {
        if self.upcoming.as_mut().is_some_and(|upcoming| upcoming.pass(keys)) {
            self.read_next();
        }
    }

    /// Forgets which batches were to come, and what was read of them.
    pub(super) fn forget_order(&mut self) {
        if self.upcoming.take().is_some()
            && let Some(cache) = &mut self.cache
        {
            cache.read_ahead(&[]);
        }
    }

    fn read_next(&mut self) {
        let next = self.upcoming.as_ref().and_then(Upcoming::next);
        if let (Some(cache), Some(keys)) = (&mut self.cache, next) {
            cache.read_ahead(keys);
        }
    }
}
