//! When a policy is asked.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::policy::Elapsed;

/// The point of a run at which a policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the first step.
    Start,
    /// After an optimizer step that does not end an epoch.
    Step,
    /// At the end of an epoch.
    Epoch,
}

/// When a policy acts: at the ends of epochs, after every n optimizer steps, or both. A setting of
/// every policy that does not fix it by its own rule.
///
/// ```
/// use freeze_core::policy::{Acts, Moment};
/// use freeze_core::Elapsed;
///
/// let acts = Acts::every(10)?;
/// let at = |step| Elapsed::new(0, 1).at_step(step, 100);
/// assert!(acts.includes(at(20), Moment::Step) && !acts.includes(at(21), Moment::Epoch));
/// assert!(acts.and_at_epochs().includes(at(21), Moment::Epoch));
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acts {
    /// Whether it acts at the end of each epoch.
    #[serde(default)]
    pub epochs: bool,
    /// After how many optimizer steps, counted over the whole run, it acts; 0: not by steps.
    #[serde(default)]
    pub steps: usize,
}

impl Acts {
    /// At the end of each epoch.
    pub const AT_EPOCHS: Self = Self { epochs: true, steps: 0 };

    /// After every `steps` optimizer steps.
    ///
    /// # Errors
    ///
    /// `steps` is 0.
    pub fn every(steps: usize) -> Result<Self> {
        let steps = crate::error::at_least_1("steps", steps)?;
        Ok(Self { epochs: false, steps })
    }

    /// Also at the end of each epoch.
    pub fn and_at_epochs(self) -> Self {
        Self { epochs: true, ..self }
    }

    /// Whether a policy with this setting acts. At the start of a run it does not.
    pub fn includes(self, at: Elapsed, moment: Moment) -> bool {
        let by_steps = self.steps > 0 && at.step > 0 && at.step.is_multiple_of(self.steps);
        match moment {
            Moment::Start => false,
            Moment::Step => by_steps,
            Moment::Epoch => self.epochs || by_steps,
        }
    }

    /// An error if it never acts.
    pub(crate) fn check(self) -> Result<()> {
        match self.epochs || self.steps > 0 {
            true => Ok(()),
            false => Err(Error::count("steps", 0usize, "at least 1 where `epochs` is false")),
        }
    }
}

impl Default for Acts {
    fn default() -> Self {
        Self::AT_EPOCHS
    }
}
