//! The forward that keeps fewer activations.

use std::sync::Arc;

use super::training::Training;
use crate::error::Result;
use crate::model::{Freezable, Staged};
use crate::recompute::Recompute;

impl<M: Freezable> Training<M> {
    /// Runs stages again in the backward instead of keeping their activations, for
    /// [`forward_recomputed`](Self::forward_recomputed). It changes nothing but memory and time: a run may be
    /// resumed with another choice.
    pub fn recompute(self, choice: Recompute) -> Self {
        Self { recompute: Some(choice), ..self }
    }

    /// The forward of a batch through the current view, for the loss that [`step`](Self::step) takes: as
    /// [`Recompute::forward`], and the model's own forward if the run has no
    /// [`recompute`](Self::recompute). It does not read the [`cache`](Self::cache).
    ///
    /// # Errors
    ///
    /// As [`Recompute::forward`].
    pub fn forward_recomputed(
        &self,
        xs: M::Flow,
        context: impl Into<Arc<M::Context>>,
    ) -> Result<M::Flow>
    where
        M: Staged<Flow: 'static, Context: Send + Sync + 'static> + Send + Sync + 'static,
    {
        match &self.recompute {
            Some(choice) => choice.forward(&self.freezer, xs, context),
            None => Ok(self.freezer.forward(xs, &context.into())?),
        }
    }
}
