//! How much of the run is completed.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Completed epochs, and optionally optimizer steps, with their totals.
///
/// ```
/// use freeze_core::Elapsed;
///
/// assert_eq!(Elapsed::new(3, 8).fraction()?, 0.375);
/// assert_eq!(Elapsed::new(0, 1).at_step(50, 200).fraction()?, 0.25);
/// assert!(Elapsed::new(9, 8).fraction().is_err());
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elapsed {
    /// Epochs completed.
    pub epoch: usize,
    /// Epochs in the whole run.
    pub epochs: usize,
    /// Optimizer steps completed, counted over the whole run.
    pub step: usize,
    /// Optimizer steps in the whole run; 0 if steps are not counted.
    pub steps: usize,
}

impl Elapsed {
    /// `epoch` of `epochs` epochs are completed.
    pub fn new(epoch: usize, epochs: usize) -> Self {
        Self { epoch, epochs, step: 0, steps: 0 }
    }

    /// Adds `step` of `steps` over the whole run, from which [`fraction`](Self::fraction) is then
    /// computed.
    pub fn at_step(self, step: usize, steps: usize) -> Self {
        Self { step, steps, ..self }
    }

    /// Whether this point of the run comes after `other`.
    pub(crate) fn is_after(&self, other: Self) -> bool {
        (self.step, self.epoch) > (other.step, other.epoch)
    }

    /// An error if steps are not counted.
    pub(crate) fn check_steps(&self) -> Result<()> {
        let expected = "the steps of the whole run: `Elapsed::at_step(step, steps)`";
        match self.steps {
            0 => Err(Error::count("steps", 0_usize, expected)),
            _ => Ok(()),
        }
    }

    /// The completed share of the run, in [0, 1]: by steps if they are counted, otherwise by
    /// epochs.
    ///
    /// # Errors
    ///
    /// The total is 0, or the completed count exceeds it.
    pub fn fraction(&self) -> Result<f64> {
        let (name, done, total) = match self.steps {
            0 => ("epoch", self.epoch, self.epochs),
            steps => ("step", self.step, steps),
        };
        if total == 0 {
            return Err(Error::count("epochs", total, "at least 1"));
        }
        if done > total {
            return Err(Error::count(name, done, "at most the total of the run"));
        }
        Ok(done as f64 / total as f64)
    }
}
