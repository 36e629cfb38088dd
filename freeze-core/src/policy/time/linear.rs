//! The reference's schedule: MosaicML Composer's `LayerFreezing`.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rhythm::{check_run, is_due, over};
use crate::error::{Result, check_number, check_unit};
use crate::plan::FreezePlan;
use crate::policy::{Acts, Decision, Elapsed, Family, Moment, Policy, Reason, Settings};

/// Freezes from the front, linearly in time: none before `start`, the share `level` at the end.
///
/// With duration `t` in [0, 1] and `n` leaves, in f64 and in this order of operations:
///
/// ```text
/// percentage = 0                                     if t <= start
///            = level * ((t - start) / (1 - start))   otherwise
/// depth      = trunc(percentage * (n - 1))
/// ```
///
/// so the last leaf always trains. Source: MosaicML Composer 0.32,
/// `composer.algorithms.layer_freezing`; after Raghu et al., "SVCCA", 2017, and Brock et al.,
/// "FreezeOut", 2017.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    start: f64,
    level: f64,
    acts: Acts,
}

/// The settings of [`Linear`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearSettings {
    /// The share of the run, in [0, 1), before which nothing is frozen; 0.5 in the reference.
    pub start: f64,
    /// The share of the leaves, in [0, 1], that is frozen at the end; 1 in the reference.
    pub level: f64,
    /// When it acts; at the ends of epochs in the reference.
    pub acts: Acts,
}

impl Default for LinearSettings {
    fn default() -> Self {
        Self { start: 0.5, level: 1.0, acts: Acts::AT_EPOCHS }
    }
}

impl Settings for LinearSettings {
    const NAME: &'static str = "linear";
    const FAMILY: Family = Family::Time;
    const ABOUT: &'static str = "freezes from the front, linearly in time (Composer)";
    type Policy = Linear;

    fn policy(self) -> Result<Linear> {
        self.acts.check()?;
        Ok(Linear { acts: self.acts, ..Linear::new(self.start, self.level)? })
    }
}

impl Linear {
    /// The schedule from `start`, a share of the run, to `level`, a share of the leaves, at the ends of epochs.
    ///
    /// # Errors
    ///
    /// `start` outside [0, 1), `level` outside [0, 1], or NaN.
    pub fn new(start: f64, level: f64) -> Result<Self> {
        let below_1 = "a number of at least 0 and less than 1";
        check_number("freeze_start", start, 0.0..1.0, below_1)?;
        check_unit("freeze_level", level)?;
        Ok(Self { start, level, acts: Acts::AT_EPOCHS })
    }

    /// Depth and percentage at `duration`, the completed share of the run, for `leaves` leaves.
    ///
    /// # Errors
    ///
    /// `duration` outside [0, 1], or NaN.
    pub fn at(&self, duration: f64, leaves: usize) -> Result<(usize, f64)> {
        check_unit("current_duration", duration)?;
        let percentage = if duration <= self.start {
            0.0
        } else {
            self.level * ((duration - self.start) / (1.0 - self.start))
        };
        let depth = (percentage * leaves.saturating_sub(1) as f64).trunc() as usize;
        Ok((depth, percentage))
    }

    /// The base plan with its front frozen to the depth at `duration`.
    pub(crate) fn refined(&self, duration: f64, base: &FreezePlan) -> Result<Decision> {
        let (depth, percentage) = self.at(duration, base.len())?;
        let mut plan = base.clone();
        plan.freeze_front(depth)?;
        let decision = Decision::new(plan).metric(Decision::LAYERS_FROZEN, depth as f64);
        Ok(decision.metric(Decision::PERCENTAGE_FROZEN, percentage))
    }
}

impl Policy for Linear {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        is_due(self.acts, at, moment)
    }

    fn decide(&mut self, elapsed: Elapsed, base: &FreezePlan) -> Result<Decision> {
        check_run(self.acts, elapsed)?;
        let mut decision = self.refined(elapsed.fraction()?, base)?;
        let over = over(elapsed);
        let (depth, leaves) = (decision.depth(), base.len());
        let text = format!("froze: {over}, {depth} of {leaves} leaves are due");
        let due = base.paths().iter().take(depth).cloned();
        decision.why = due.map(|leaf| Reason { leaf, text: text.clone() }).collect();
        Ok(decision)
    }

    fn describe(&self) -> String {
        let Self { start, level, acts } = *self;
        match acts == Acts::AT_EPOCHS {
            true => format!("linear(start={start}, level={level})"),
            false => format!("linear(start={start}, level={level}, acts={})", json!(acts)),
        }
    }
}
