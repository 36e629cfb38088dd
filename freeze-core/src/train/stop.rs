//! What ends a run before its length.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Goal;
use crate::error::{Result, at_least_1};
use crate::optim::check_number;

/// Stops a run whose metric gets no better. A run that was stopped goes on when it is resumed with more
/// patience, or with none of this.
///
/// ```
/// use freeze_core::EarlyStop;
/// use freeze_core::checkpoint::Goal;
///
/// let early = EarlyStop::new("valid/loss", Goal::Lowest).patience(3)?.min_delta(1e-3)?;
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct EarlyStop {
    pub(super) metric: String,
    goal: Goal,
    patience: usize,
    min_delta: f64,
}

impl EarlyStop {
    /// Stops after the first epoch at whose end `metric` is no better than its best so far. NaN is
    /// never better.
    pub fn new(metric: &str, goal: Goal) -> Self {
        Self { metric: metric.to_string(), goal, patience: 1, min_delta: 0.0 }
    }

    /// Stops after `epochs` such epochs in a row.
    ///
    /// # Errors
    ///
    /// `epochs` is 0.
    pub fn patience(self, epochs: usize) -> Result<Self> {
        Ok(Self { patience: at_least_1("patience", epochs)?, ..self })
    }

    /// Only what is better by more than `delta` counts as better.
    ///
    /// # Errors
    ///
    /// `delta` is negative or not finite.
    pub fn min_delta(self, delta: f64) -> Result<Self> {
        check_number("min_delta", delta, 0.0.., "a finite number of at least 0")?;
        Ok(Self { min_delta: delta, ..self })
    }

    /// Takes the metric's value at an epoch's end; whether the run is to stop.
    pub(super) fn says_stop(&self, patience: &mut Patience, value: f64) -> bool {
        if self.goal.is_better(value, patience.best, self.min_delta) {
            *patience = Patience { best: Some(value), stale: 0 };
        } else {
            patience.stale += 1;
        }
        self.is_exhausted(patience)
    }

    pub(super) fn is_exhausted(&self, patience: &Patience) -> bool {
        patience.stale >= self.patience
    }
}

/// The best value so far, and for how many epochs nothing was better.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Patience {
    best: Option<f64>,
    stale: usize,
}

/// What a run does about a loss or a gradient that is infinite or NaN. Weights and optimizer state
/// stay untouched in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNonFinite {
    /// [`step`](super::Training::step) fails. The loss is not counted: the next call takes its place,
    /// and what was gathered before it in the same step is gone if the gradients were at fault.
    #[default]
    Error,
    /// The loss is left out and counted as done. If the gradients were at fault, so is the update.
    Skip,
    /// The run ends: no further loss is taken and no further epoch comes.
    Stop,
}

/// Why a run was stopped before its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Stopped {
    /// The metric of [`EarlyStop`] got no better.
    Early,
    /// A loss or a gradient was infinite or NaN, under [`OnNonFinite::Stop`].
    NonFinite,
}
