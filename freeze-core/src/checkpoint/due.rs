//! How often a run is saved.

use crate::error::{Error, Result};
use crate::policy::Elapsed;

/// After every n epochs, or every n optimizer steps, counted over the whole run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Every {
    Epochs(usize),
    Steps(usize),
}

impl Every {
    /// Whether to save now; an error if steps are to be counted and the progress has none.
    pub(super) fn is_due(self, progress: Elapsed) -> Result<bool> {
        let (done, every) = match self {
            Self::Epochs(every) => (progress.epoch, every),
            Self::Steps(_) if !counts_steps(progress) => {
                let why = "its progress counts no steps; say them with `Elapsed::at_step`";
                return Err(Error::Unsaved {
                    what: "the run by its steps".into(),
                    why: why.into(),
                });
            }
            Self::Steps(every) => (progress.step, every),
        };
        Ok(done > 0 && done.is_multiple_of(every))
    }
}

/// Whether a progress counts steps.
pub(super) fn counts_steps(progress: Elapsed) -> bool {
    progress.step > 0 || progress.steps > 0
}
