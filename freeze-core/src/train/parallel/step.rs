//! The loss of a batch that the ranks share.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::model::Freezable;
use crate::train::{Step, Training};

/// A batch of which every rank has a share.
#[derive(Clone, Copy, Debug)]
pub(in crate::train) struct Shared {
    /// The mean of the ranks' losses by their samples.
    pub(in crate::train) loss: f64,
    /// The first rank whose loss is infinite or NaN.
    pub(in crate::train) unfit: Option<usize>,
    /// The samples of the batch.
    pub(in crate::train) total: f64,
    /// What the own loss is multiplied by, so that the plain mean of the ranks' gradients is that of the batch.
    pub(in crate::train) scale: f64,
}

impl<M: Freezable> Training<M> {
    /// As [`step`](Self::step), for the mean loss of `samples` samples. Where ranks share a batch unevenly, or where
    /// batches of different sizes are [accumulated](Self::accumulate), each counts by its samples, and the update is
    /// that of the whole batch.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step), or `samples` is 0.
    pub fn step_of(&mut self, loss: &Tensor, samples: usize) -> Result<Step> {
        match samples {
            0 => {
                let why = "a loss of no samples; a rank without a share of the batch calls `step_without_batch`";
                Err(Error::training(why))
            }
            _ => self.step_with(Some(loss), samples as f64),
        }
    }

    /// The step of a rank that has no share of a batch: it makes the update of the others, which call
    /// [`step_of`](Self::step_of).
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step), no rank has a share, or the run is not [`parallel`](Self::parallel).
    pub fn step_without_batch(&mut self) -> Result<Step> {
        match self.group() {
            Some(_) => self.step_with(None, 0.0),
            None => Err(Error::training("only one of several ranks can have no share of a batch")),
        }
    }

    /// The loss of the batch, from the own loss of a share of `samples`.
    pub(in crate::train) fn loss_of_all(&self, own: Result<f64>, samples: f64) -> Result<Shared> {
        let own = own.map(|loss| [loss.to_bits(), samples.to_bits()]);
        let numbers = *own.as_ref().unwrap_or(&[0; 2]);
        let (_, told) = self.agree("a step", numbers, own)?;
        let told = told.iter().map(|told| told.map(f64::from_bits));
        let ranks = told.len() as f64;
        let told: Vec<(usize, [f64; 2])> =
            told.enumerate().filter(|(_, [_, samples])| *samples > 0.0).collect();
        let total: f64 = told.iter().map(|(_, [_, samples])| samples).sum();
        let unfit = told.iter().find(|(_, [loss, _])| !loss.is_finite()).map(|(rank, _)| *rank);
        let loss = match &told[..] {
            [] => return Err(Error::training("no rank has a share of the batch")),
            [(_, [loss, _])] => *loss,
            told => told.iter().map(|(_, [loss, samples])| loss * (samples / total)).sum(),
        };
        Ok(Shared { loss, unfit, total, scale: samples * ranks / total })
    }
}
