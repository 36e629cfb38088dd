//! The forward of a run: through the activation cache, with stages that run again in the backward.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::training::Training;
use crate::cache::{ActivationCache, CacheContext};
use crate::error::Result;
use crate::model::{Freezable, Staged, onward};

impl<M> Training<M>
where
    M: Staged<Flow: 'static, Context: CacheContext<Owned: Send + Sync + 'static>>
        + Send
        + Sync
        + 'static,
{
    /// The forward of a batch through the current view, for the loss that [`step`](Self::step) takes.
    ///
    /// If the run has a [`cache`](Self::cache), the frozen front runs only for samples without a record:
    /// `keys` has one key per sample; see [`ActivationCache::forward`]. Without a cache `keys` is not read. If
    /// the run has a [`recompute`](Self::recompute), stages that train run again in the backward as it
    /// says, on what the cache found. With neither it is the model's own forward.
    ///
    /// A model or context without the bounds that stages need to run again has the forward of its parts:
    /// [`ActivationCache::forward`] of a cache beside the run, or
    /// [`Recompute::forward`](crate::Recompute::forward).
    ///
    /// # Errors
    ///
    /// As [`ActivationCache::forward`] and [`Recompute::forward`](crate::Recompute::forward).
    pub fn forward(&mut self, keys: &[u64], xs: M::Flow, context: &M::Context) -> Result<M::Flow> {
        let start = Instant::now();
        let ran = self.ran_in_cache();
        let (entry, xs) = match &mut self.cache {
            Some(cache) => cache.front(&self.freezer, keys, xs, context)?,
            None => (0, xs),
        };
        self.has_read(keys);
        let (ran, front) = (self.ran_in_cache().saturating_sub(ran), start.elapsed());
        let scores = match &self.recompute {
            Some(choice) => {
                choice.forward_from(&self.freezer, entry, xs, Arc::new(context.to_owned()))?
            }
            None => onward(&*self.freezer, entry, xs, context)?,
        };
        let in_cache = front.saturating_sub(ran);
        self.spent.cache += in_cache;
        self.spent.forward += start.elapsed().saturating_sub(in_cache);
        Ok(scores)
    }
}

impl<M: Freezable> Training<M> {
    /// The run's cache, if it has one.
    pub fn activation_cache(&self) -> Option<&ActivationCache> {
        self.cache.as_ref()
    }

    /// The run's cache, to clear it or to have it compare all weights.
    pub fn activation_cache_mut(&mut self) -> Option<&mut ActivationCache> {
        self.cache.as_mut()
    }

    /// How long stages have run for the cache.
    fn ran_in_cache(&self) -> Duration {
        self.cache.as_ref().map(ActivationCache::ran_for).unwrap_or_default()
    }

    /// Makes the cache compare all frozen weights at the next forward.
    pub(super) fn recheck_cache(&mut self) {
        if let Some(cache) = &mut self.cache {
            cache.recheck();
        }
    }
}
