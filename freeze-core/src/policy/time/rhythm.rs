//! When policies that go by time act, and how a run counts for them.

use crate::error::{Error, Result};
use crate::policy::{Acts, Elapsed, Moment};

/// Whether a policy with this setting is due. Where it could never act it is due too, so that
/// [`check_run`] says why.
pub(super) fn is_due(acts: Acts, at: Elapsed, moment: Moment) -> bool {
    acts.includes(at, moment) || (moment != Moment::Step && check_run(acts, at).is_err())
}

/// An error if it acts by steps alone, and steps are not counted or the run has fewer.
pub(super) fn check_run(acts: Acts, at: Elapsed) -> Result<()> {
    if acts.epochs || (1..=at.steps).contains(&acts.steps) {
        return Ok(());
    }
    at.check_steps()?;
    Err(Error::count("acts.steps", acts.steps, "at most the optimizer steps of the run"))
}

/// What is completed, and of how many: steps if they are counted, otherwise epochs.
///
/// # Errors
///
/// The total is 0, or the completed count exceeds it.
pub(super) fn counted(at: Elapsed) -> Result<(usize, usize)> {
    at.fraction()?;
    Ok(match at.steps {
        0 => (at.epoch, at.epochs),
        steps => (at.step, steps),
    })
}

/// As [`counted`], in words.
pub(super) fn over(at: Elapsed) -> String {
    match at.steps {
        0 => format!("{} of {} epochs are over", at.epoch, at.epochs),
        steps => format!("{} of {steps} steps are over", at.step),
    }
}

/// An error unless a round is either an epoch or a number of steps.
pub(super) fn check_rounds(acts: Acts) -> Result<()> {
    acts.check()?;
    match acts.epochs && acts.steps > 0 {
        false => Ok(()),
        true => {
            let expected = "0 where `epochs` is true: a round is an epoch or a number of steps";
            Err(Error::count("acts.steps", acts.steps, expected))
        }
    }
}

/// The completed rounds of a run. A round ends each time the policy acts.
///
/// # Errors
///
/// As [`check_run`] and [`counted`].
pub(super) fn rounds(acts: Acts, at: Elapsed) -> Result<usize> {
    check_run(acts, at)?;
    counted(at)?;
    Ok(at.step.checked_div(acts.steps).unwrap_or(at.epoch))
}

/// Whether a round begins here; epochs count as equally long.
pub(super) fn is_round_start(acts: Acts, at: Elapsed) -> bool {
    match acts.steps {
        0 => at.step as u128 * at.epochs as u128 == at.epoch as u128 * at.steps as u128,
        steps => at.step.is_multiple_of(steps),
    }
}
