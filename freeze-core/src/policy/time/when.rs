//! Points of a run.

use serde::{Deserialize, Serialize};

use super::fraction::reaches;
use super::rhythm::counted;
use crate::error::{Error, Result, check_number};
use crate::policy::{Elapsed, Moment};

/// A point of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// A share of the run, at least 0 and less than 1: of its steps, or of its epochs if steps are not
    /// counted.
    Share(f64),
    /// So many epochs are completed.
    Epoch(usize),
}

impl When {
    /// Whether the run has come to it.
    pub(super) fn is_reached(self, at: Elapsed) -> Result<bool> {
        let (done, total) = counted(at)?;
        Ok(match self {
            Self::Share(share) => reaches(done, total, share),
            Self::Epoch(epoch) => at.epoch >= epoch,
        })
    }

    /// As it is named in reasons and errors.
    pub(super) fn words(self) -> String {
        match self {
            Self::Share(share) => format!("{share} of the run"),
            Self::Epoch(epoch) => format!("epoch {epoch}"),
        }
    }

    /// The share of a run with so many epochs.
    fn share(self, epochs: usize) -> f64 {
        match self {
            Self::Share(share) => share,
            Self::Epoch(epoch) => epoch as f64 / epochs as f64,
        }
    }
}

/// Whether a policy that acts at these points is due: at the start and at the ends of epochs to be
/// safe, and after the step that comes to a point.
pub(super) fn is_due(points: impl IntoIterator<Item = When>, at: Elapsed, moment: Moment) -> bool {
    let before = Elapsed { step: at.step.saturating_sub(1), ..at };
    let reached = |point: When, at| point.is_reached(at).unwrap_or(false);
    let comes_to = |point| reached(point, at) && !reached(point, before);
    moment != Moment::Step || points.into_iter().any(comes_to)
}

/// Refuses points that cannot lie one after another in any run.
pub(super) fn check(name: &str, points: &[When]) -> Result<()> {
    for point in points {
        if let When::Share(share) = point {
            let expected = "a number of at least 0 and less than 1";
            check_number("share", *share, 0.0..1.0, expected)?;
        }
    }
    let shares = points.iter().filter(|point| matches!(point, When::Share(_)));
    let epochs = points.iter().filter(|point| matches!(point, When::Epoch(_)));
    // The number of epochs does not matter among points of one kind.
    rising(name, shares, 1)?;
    rising(name, epochs, 1)
}

/// Refuses points that do not lie one after another within this run.
pub(super) fn check_run(name: &str, points: &[When], at: Elapsed) -> Result<()> {
    counted(at)?;
    for point in points {
        if let When::Epoch(epoch) = *point
            && epoch >= at.epochs
        {
            let why = format!(
                "it acts when {epoch} epochs are over, but the run has {}: no step would follow",
                at.epochs
            );
            return Err(Error::policy(name, why));
        }
    }
    rising(name, points, at.epochs)
}

fn rising<'a>(name: &str, points: impl IntoIterator<Item = &'a When>, epochs: usize) -> Result<()> {
    let mut last: Option<When> = None;
    for &point in points {
        if let Some(last) = last.filter(|last| last.share(epochs) >= point.share(epochs)) {
            let (last, point) = (last.words(), point.words());
            let why =
                format!("{last} stands before {point}, but does not come before it; sort the list");
            return Err(Error::policy(name, why));
        }
        last = Some(point);
    }
    Ok(())
}
