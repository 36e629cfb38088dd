//! The forward through the activation cache.

use super::training::Training;
use crate::cache::{ActivationCache, CacheContext};
use crate::error::Result;
use crate::model::{Freezable, Staged};

impl<M: Staged<Context: CacheContext>> Training<M> {
    /// The forward of a batch through the current view. If the run has a [`cache`](Self::cache), the frozen
    /// front runs only for samples without a record: `keys` has one key per sample; see
    /// [`ActivationCache::forward`]. Without a cache it is the model's own forward, and `keys` is not
    /// read.
    ///
    /// # Errors
    ///
    /// As [`ActivationCache::forward`]; without a cache, those of the model's forward.
    pub fn forward(&mut self, keys: &[u64], xs: M::Flow, context: &M::Context) -> Result<M::Flow> {
        match &mut self.cache {
            Some(cache) => cache.forward(&self.freezer, keys, xs, context),
            None => Ok(self.freezer.forward(xs, context)?),
        }
    }
}

impl<M: Freezable> Training<M> {
    /// The run's cache, if it has one.
    pub fn activation_cache(&self) -> Option<&ActivationCache> {
        self.cache.as_ref()
    }

    /// The run's cache, to read ahead or to clear it.
    pub fn activation_cache_mut(&mut self) -> Option<&mut ActivationCache> {
        self.cache.as_mut()
    }

    /// Makes the cache compare all frozen weights at the next forward.
    pub(super) fn recheck_cache(&mut self) {
        if let Some(cache) = &mut self.cache {
            cache.recheck();
        }
    }
}
