//! Checks that progress does not go backwards.

use crate::error::{Error, Result};
use crate::policy::Elapsed;

/// The furthest progress reported so far: the completed counts and the totals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    epoch: (usize, usize),
    step: (usize, usize),
}

impl Progress {
    /// The progress after `elapsed`, in which steps need not be counted; an error if it goes
    /// backwards.
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
    // If a total is not known, only the counts are compared.
    let total = |of: usize, other: usize| if of == 0 || other == 0 { 1 } else { of as u128 };
    let (from_total, to_total) = (total(from.1, to.1), total(to.1, from.1));
    let shrinks = to.0 as u128 * from_total < from.0 as u128 * to_total;
    match to.0 < from.0 || shrinks {
        true => Err(Error::Backwards { name, from, to }),
        false => Ok(to),
    }
}
