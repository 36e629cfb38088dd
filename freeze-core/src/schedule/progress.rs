//! Sees to it that progress goes on.

use crate::{Elapsed, Error, Result};

/// The furthest progress that was said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    epoch: usize,
    step: usize,
}

impl Progress {
    /// What it will be at `elapsed`, where steps need not be counted.
    pub(crate) fn at(self, elapsed: Elapsed) -> Result<Self> {
        let onward = |name, from, to| match to < from {
            true => Err(Error::Backwards { name, from, to }),
            false => Ok(to),
        };
        let step = if elapsed.steps == 0 { self.step } else { elapsed.step };
        Ok(Self {
            epoch: onward("epoch", self.epoch, elapsed.epoch)?,
            step: onward("step", self.step, step)?,
        })
    }
}
