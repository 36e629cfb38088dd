//! Sees to it that progress goes on.

use crate::error::{Error, Result};
use crate::policy::Elapsed;

/// The furthest progress that was said: what was completed, and of how many.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    epoch: (usize, usize),
    step: (usize, usize),
}

impl Progress {
    /// What it will be at `elapsed`, where steps need not be counted.
    pub(crate) fn at(self, elapsed: Elapsed) -> Result<Self> {
        let epoch = onward("epoch", self.epoch, (elapsed.epoch, elapsed.epochs))?;
        let step = match elapsed.steps {
            0 => self.step,
            steps => onward("step", self.step, (elapsed.step, steps))?,
        };
        Ok(Self { epoch, step })
    }
}

fn onward(name: &'static str, from: (usize, usize), to: (usize, usize)) -> Result<(usize, usize)> {
    // Where a total is not known, counts alone are compared.
    let total = |of: usize, other: usize| if of == 0 || other == 0 { 1 } else { of as u128 };
    let (from_total, to_total) = (total(from.1, to.1), total(to.1, from.1));
    let shrinks = to.0 as u128 * from_total < from.0 as u128 * to_total;
    match to.0 < from.0 || shrinks {
        true => Err(Error::Backwards { name, from, to }),
        false => Ok(to),
    }
}
