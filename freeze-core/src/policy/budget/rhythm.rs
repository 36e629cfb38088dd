//! When a budget looks at leaves and when it holds to its choice.

use crate::error::{Error, Result};
use crate::policy::Elapsed;

/// A cycle of steps: rounds of looking, and the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    /// A cycle's share of the run.
    pub(super) every: f64,
    /// The steps of a round: the first is compared with by the others.
    pub(super) round: usize,
    /// The rounds of each cycle.
    pub(super) rounds: usize,
}

/// Where a run stands in its cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) cycle: usize,
    /// The steps that the cycle has completed.
    pub(super) step: usize,
}

/// What the next step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// To look at what trains in this round.
    Look(usize),
    /// To train what was chosen.
    Hold,
}

impl Rhythm {
    /// The steps of a cycle in a run of `steps`.
    fn cycle(self, steps: usize) -> usize {
        // A third of 300 steps is 100 of them, although the product is a little more.
        let cycle = (self.every * steps as f64 - 1e-6).ceil();
        (cycle as usize).clamp(1, steps.max(1))
    }

    /// The steps in which a cycle looks.
    fn looks(self) -> usize {
        self.rounds.saturating_mul(self.round)
    }

    /// The place after `step` of `steps`. A cycle that could do nothing but look is not begun.
    pub(super) fn place(self, step: usize, steps: usize) -> Place {
        let length = self.cycle(steps);
        let mut cycle = step / length;
        if cycle > 0 && steps.saturating_sub(cycle * length) <= self.looks() {
            cycle -= 1;
        }
        Place { cycle, step: step - cycle * length }
    }

    pub(super) fn turn(self, place: Place) -> Turn {
        match place.step < self.looks() {
            true => Turn::Look(place.step / self.round.max(1)),
            false => Turn::Hold,
        }
    }

    /// Whether another turn begins at this place.
    pub(super) fn turns(self, place: Place) -> bool {
        place.step <= self.looks() && place.step.is_multiple_of(self.round)
    }

    /// Whether the step after this place shows something: the first of a round does not.
    pub(super) fn shows(self, place: Place) -> bool {
        place.step < self.looks() && !place.step.is_multiple_of(self.round)
    }

    /// An error if steps are not counted, or a cycle is over before it has looked.
    pub(super) fn check(self, at: Elapsed) -> Result<()> {
        at.check_steps()?;
        at.fraction()?;
        let (cycle, looks) = (self.cycle(at.steps), self.looks());
        if cycle > looks {
            return Ok(());
        }
        let (steps, rounds, round) = (at.steps, self.rounds, self.round);
        Err(Error::policy(
            "budget",
            format!(
                "`every` is {} of {steps} steps, {cycle} of them, of which looking takes {looks}: \
                 {rounds} x {round}; train for more steps, raise `every` or lower `probe`",
                self.every
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm { every: 1.0 / 3.0, round: 4, rounds: 2 };

    #[test]
    fn a_cycle_looks_and_then_holds() {
        let rows = [
            (0, 0, 0, Turn::Look(0)),
            (3, 0, 3, Turn::Look(0)),
            (4, 0, 4, Turn::Look(1)),
            (8, 0, 8, Turn::Hold),
            (99, 0, 99, Turn::Hold),
            (100, 1, 0, Turn::Look(0)),
            (299, 2, 99, Turn::Hold),
            (300, 2, 100, Turn::Hold),
        ];
        for (step, cycle, within, turn) in rows {
            let place = RHYTHM.place(step, 300);
            assert_eq!(place, Place { cycle, step: within }, "{step}");
            assert_eq!(RHYTHM.turn(place), turn, "{step}");
        }
        let due: Vec<usize> =
            (0..300).filter(|&step| RHYTHM.turns(RHYTHM.place(step, 300))).collect();
        assert_eq!(due, [0, 4, 8, 100, 104, 108, 200, 204, 208]);
        let shown: Vec<usize> =
            (0..100).filter(|&step| RHYTHM.shows(RHYTHM.place(step, 300))).collect();
        assert_eq!(shown, [1, 2, 3, 5, 6, 7]);
    }

    #[test]
    fn a_last_cycle_that_is_too_short_is_not_begun() {
        // Cycles of 11 steps of 30, the last of 8, and of 10 of 29, the last of 9.
        let third = |every| Rhythm { every, ..RHYTHM };
        assert_eq!(third(0.36).place(29, 30), Place { cycle: 1, step: 18 });
        assert_eq!(third(0.34).place(28, 29), Place { cycle: 2, step: 8 });
    }

    #[test]
    fn runs_that_are_too_short_are_refused() {
        let at = |step, steps| Elapsed::new(0, 1).at_step(step, steps);
        for (steps, expected) in [
            (0, Some("`steps` is 0")),
            (1, Some("of which looking takes 8: 2 x 4")),
            (24, Some("of 24 steps, 8 of them")),
            (25, None),
            (usize::MAX, None),
        ] {
            let error = RHYTHM.check(at(0, steps)).err().map(|error| error.to_string());
            match (error, expected) {
                (None, None) => {}
                (Some(error), Some(expected)) => assert!(error.contains(expected), "{error}"),
                (error, _) => panic!("{steps}: {error:?}"),
            }
        }
        assert!(RHYTHM.check(at(31, 30)).is_err(), "more steps than there are");
    }
}
