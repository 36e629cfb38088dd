//! A part of a run, which a policy sees as a run of its own.

use super::share::at_least;
use crate::error::{Error, Result};
use crate::policy::{Elapsed, Observation};

/// A part of a run between two shares of it.
///
/// A policy in it sees the steps and epochs of the part alone: 0 where the part begins, all of them where
/// it ends. An epoch in which the part begins counts as one of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    from: f64,
    to: f64,
}

impl Span {
    /// Which of the parts that end at the shares `ends` the point `at` is in, the last of them ending
    /// with the run, and that part.
    pub(super) fn at(ends: &[f64], at: Elapsed) -> Result<(usize, Self)> {
        let done = at.fraction()?;
        let index = ends.iter().take_while(|&&end| done >= end).count();
        let from = index.checked_sub(1).and_then(|before| ends.get(before));
        let to = ends.get(index).copied().unwrap_or(1.0);
        Ok((index, Self { from: from.copied().unwrap_or(0.0), to }))
    }

    /// The part in which what was observed was asked for.
    pub(super) fn asking(ends: &[f64], seen: &Observation) -> Result<(usize, Self)> {
        Self::at(ends, seen.asked_at())
    }

    /// The point at which the part number `index` of a run like that of `at` begins, as progress of the part;
    /// `None` if the next begins at once.
    pub(super) fn beginning(ends: &[f64], index: usize, at: Elapsed) -> Result<Option<Elapsed>> {
        let from = index.checked_sub(1).and_then(|before| ends.get(before));
        let from = from.copied().unwrap_or(0.0);
        let begins = match at.steps {
            0 => Elapsed { epoch: at_least(from, at.epochs), ..at },
            steps => {
                let step = at_least(from, steps);
                let epoch = step as u128 * at.epochs as u128 / steps as u128;
                Elapsed { epoch: epoch as usize, step, ..at }
            }
        };
        let (part, span) = Self::at(ends, begins)?;
        Ok((part == index).then(|| span.own(begins)))
    }

    /// The progress of the run as progress of the part.
    pub(super) fn own(self, at: Elapsed) -> Elapsed {
        if (self.from, self.to) == (0.0, 1.0) {
            return at;
        }
        if at.steps == 0 {
            let (from, to) = (at_least(self.from, at.epochs), at_least(self.to, at.epochs));
            return Elapsed::new(at.epoch.saturating_sub(from), (to - from).max(1));
        }
        let (from, to) = (at_least(self.from, at.steps), at_least(self.to, at.steps));
        let epochs = |steps: usize| steps as u128 * at.epochs as u128;
        let first = (epochs(from) / at.steps as u128) as usize;
        let last = epochs(to).div_ceil(at.steps as u128) as usize;
        let epoch = at.epoch.saturating_sub(first);
        let own = Elapsed::new(epoch, last.saturating_sub(first).max(epoch));
        own.at_step(at.step.saturating_sub(from), (to - from).max(1))
    }
}

/// An error unless the shares increase, all between 0 and 1.
pub(super) fn check_ends(name: &'static str, ends: &[f64]) -> Result<()> {
    let mut before = 0.0;
    for &end in ends {
        if !(end > before && end < 1.0) {
            let expected =
                "a share of the run above the one before it, more than 0 and less than 1";
            return Err(Error::Number { name, value: end, expected });
        }
        before = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_run_of_its_own() -> Result<()> {
        let run = |epoch, step| Elapsed::new(epoch, 5).at_step(step, 50);
        let own = |epoch, epochs, step, steps| Elapsed::new(epoch, epochs).at_step(step, steps);
        for (ends, at, part, expected) in [
            (&[][..], run(3, 30), 0, run(3, 30)),
            (&[0.2], run(0, 0), 0, own(0, 1, 0, 10)),
            (&[0.2], run(0, 9), 0, own(0, 1, 9, 10)),
            (&[0.2], run(1, 10), 1, own(0, 4, 0, 40)),
            (&[0.2], run(5, 50), 1, own(4, 4, 40, 40)),
            // A part that begins in the middle of the third epoch.
            (&[0.5], run(2, 25), 1, own(0, 3, 0, 25)),
            (&[0.5], run(3, 30), 1, own(1, 3, 5, 25)),
            (&[0.5], run(2, 24), 0, own(2, 3, 24, 25)),
            // A part within an epoch, and one without a step.
            (&[0.62, 0.66], run(3, 32), 1, own(0, 1, 1, 2)),
            (&[0.99], run(5, 50), 1, own(0, 0, 0, 1)),
            (&[0.5], Elapsed::new(2, 4), 1, Elapsed::new(0, 2)),
            (&[0.3], Elapsed::new(1, 4), 0, Elapsed::new(1, 2)),
            (&[0.3], Elapsed::new(4, 4), 1, Elapsed::new(2, 2)),
        ] {
            let (index, span) = Span::at(ends, at)?;
            assert_eq!((index, span.own(at)), (part, expected), "{ends:?} {at:?}");
        }
        assert!(Span::at(&[0.5], Elapsed::new(5, 4)).is_err());
        Ok(())
    }

    #[test]
    fn a_part_begins_with_nothing_completed() -> Result<()> {
        let (steps, epochs) = (Elapsed::new(3, 5).at_step(30, 50), Elapsed::new(1, 4));
        let own = |epochs, steps| Some(Elapsed::new(0, epochs).at_step(0, steps));
        for (ends, part, at, expected) in [
            (&[][..], 0, steps, own(5, 50)),
            (&[0.5], 0, steps, own(3, 25)),
            (&[0.5], 1, steps, own(3, 25)),
            (&[0.99], 1, steps, own(0, 1)),
            // Both end with step 21.
            (&[0.415, 0.418], 1, steps, None),
            (&[0.5], 1, epochs, Some(Elapsed::new(0, 2))),
        ] {
            assert_eq!(Span::beginning(ends, part, at)?, expected, "{ends:?} {part}");
        }
        Ok(())
    }

    #[test]
    fn what_a_step_showed_belongs_to_the_part_that_asked() -> Result<()> {
        for (step, part) in [(1, 0), (25, 0), (26, 1), (50, 1)] {
            let seen = Observation::after_step(Elapsed::new(0, 1).at_step(step, 50), 1.0);
            assert_eq!(Span::asking(&[0.5], &seen)?.0, part, "{step}");
        }
        Ok(())
    }

    #[test]
    fn ends_increase_within_the_run() {
        for (ends, refused) in [
            (&[][..], false),
            (&[0.2, 0.8], false),
            (&[0.0], true),
            (&[1.0], true),
            (&[0.5, 0.5], true),
            (&[0.5, 0.4], true),
            (&[f64::NAN], true),
        ] {
            assert_eq!(check_ends("until", ends).is_err(), refused, "{ends:?}");
        }
    }
}
