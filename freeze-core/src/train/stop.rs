//! Stopping a run early.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Goal;
use crate::error::{Result, at_least_1, check_number};

/// Stops a run whose metric stops improving. A stopped run continues if it is resumed with more
/// patience or without early stopping.
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
    /// Stops after the first epoch in which `metric` is not better than its best so far. NaN is
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

    /// Only an improvement of more than `delta` counts.
    ///
    /// # Errors
    ///
    /// `delta` is negative or not finite.
    pub fn min_delta(self, delta: f64) -> Result<Self> {
        check_number("min_delta", delta, 0.0.., "a finite number of at least 0")?;
        Ok(Self { min_delta: delta, ..self })
    }

    /// Takes the metric's value at an epoch's end and returns whether to stop.
    pub(super) fn says_stop(&self, patience: &mut Patience, value: f64) -> bool {
        let goes_by = self.goes_by();
        if patience.is_of_another(&goes_by) {
            *patience = Patience::default();
        }
        patience.goes_by = Some(goes_by);
        if self.goal.is_better(value, patience.best, self.min_delta) {
            (patience.best, patience.stale) = (Some(value), 0);
        } else {
            patience.stale += 1;
        }
        self.is_exhausted(patience)
    }

    pub(super) fn is_exhausted(&self, patience: &Patience) -> bool {
        patience.stale >= self.patience && !patience.is_of_another(&self.goes_by())
    }

    fn goes_by(&self) -> String {
        format!("{} {:?}", self.metric, self.goal)
    }
}

/// The best value so far, and the number of epochs since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Patience {
    best: Option<f64>,
    stale: usize,
    /// The metric and its goal.
    #[serde(default)]
    goes_by: Option<String>,
}

impl Patience {
    fn is_of_another(&self, goes_by: &str) -> bool {
        self.goes_by.as_deref().is_some_and(|own| own != goes_by)
    }
}

/// What a run does with a loss or a gradient that is infinite or NaN. Weights and optimizer state
/// never change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNonFinite {
    /// [`step`](super::Training::step) fails. The loss is not counted: the next call takes its
    /// place. If the gradients were at fault, those accumulated before in the same step are lost.
    #[default]
    Error,
    /// The loss is skipped and counted as done. If the gradients were at fault, the update is
    /// skipped too. Not for several [`turns`](super::Training::turns) that are accumulated.
    Skip,
    /// The run ends: no further loss is taken, and there is no further epoch. The next
    /// [`epoch_end`](super::Training::epoch_end) saves it; when it is resumed, the loss can come again, and where gradients
    /// that were accumulated are at fault, all losses of that step.
    Stop,
}

/// Why a run was stopped before its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Stopped {
    /// The metric of [`EarlyStop`] stopped improving.
    Early,
    /// A loss or a gradient was infinite or NaN, under [`OnNonFinite::Stop`].
    NonFinite,
    /// The policy found nothing left that is worth training.
    Policy,
}
