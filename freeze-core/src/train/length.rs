//! How long a run is, and how many losses make a step.

use super::clock::Length;
use super::training::Training;
use crate::error::{Error, Result, at_least_1};
use crate::model::Freezable;

impl<M: Freezable> Training<M> {
    /// Sets the length of the run: the number of epochs, and of batches in each. A run can be made
    /// longer between epochs; its policy then goes by the new length.
    ///
    /// # Errors
    ///
    /// A number is 0, or an epoch is in progress.
    pub fn length(self, epochs: usize, batches: usize) -> Result<Self> {
        let epochs = at_least_1("epochs", epochs)?;
        let batches = at_least_1("batches", batches)?;
        let length = Length { epochs, batches, ..self.clock.length };
        Ok(Self { finished: false, ..self.of_length(length)? })
    }

    /// Makes one update per `batches` batches, with the mean of their gradients. The last step of
    /// an epoch uses the batches that are left.
    ///
    /// # Errors
    ///
    /// `batches` is 0, or an epoch is in progress.
    pub fn accumulate(self, batches: usize) -> Result<Self> {
        let accumulate = at_least_1("accumulate", batches)?;
        let length = Length { accumulate, ..self.clock.length };
        self.of_length(length)
    }

    /// Takes `losses` losses for each batch, one after the other, for models whose parts train in
    /// turns, such as GANs. Each updates only the parameters that it reaches, none if a plan froze them
    /// all; an optimizer without such a parameter makes no step. With [`accumulate`](Self::accumulate) all
    /// losses of a step count alike, so give them as many samples.
    ///
    /// # Errors
    ///
    /// `losses` is 0, or an epoch is in progress.
    pub fn turns(self, losses: usize) -> Result<Self> {
        let turns = at_least_1("turns", losses)?;
        let length = Length { turns, ..self.clock.length };
        self.of_length(length)
    }

    fn of_length(mut self, length: Length) -> Result<Self> {
        if self.clock.losses > 0 {
            return Err(Error::training("an epoch is under way; end it before its length changes"));
        }
        self.clock.length = length;
        // What is done is another share of the run now.
        if let Some(policy) = &mut self.policy {
            policy.rewind();
        }
        Ok(self)
    }
}
