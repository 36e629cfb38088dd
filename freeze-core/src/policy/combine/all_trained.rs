//! Everything trains, at a share of the learning rate.

use serde::{Deserialize, Serialize};

use crate::error::{Result, check_number};
use crate::plan::FreezePlan;
use crate::policy::{Decision, Elapsed, Family, Moment, Policy, Settings};

/// Trains all that the user did not freeze, at a share of the learning rate: a warm-up before another
/// policy, or after it all layers once more, at a tenth, which is "resume at the end" (SpFDE,
/// arXiv:2209.11204). See [`PolicyExt::then`](super::PolicyExt::then).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AllTrained {
    scale: f64,
}

/// The settings of [`AllTrained`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AllTrainedSettings {
    /// What the shares of the learning rate in the base plan are multiplied by: finite, at least 0.
    pub scale: f64,
}

/// The policy that trains everything at `scale` times the learning rate.
///
/// # Errors
///
/// `scale` is negative or not finite.
pub fn all_trained(scale: f64) -> Result<AllTrained> {
    check_number("scale", scale, 0.0.., "a finite number of at least 0")?;
    Ok(AllTrained { scale })
}

impl Default for AllTrainedSettings {
    fn default() -> Self {
        Self { scale: 1.0 }
    }
}

impl Settings for AllTrainedSettings {
    const NAME: &'static str = "all-trained";
    const FAMILY: Family = Family::Time;
    const ABOUT: &'static str = "trains everything, at a share of the learning rate";
    type Policy = AllTrained;

    fn policy(self) -> Result<AllTrained> {
        all_trained(self.scale)
    }
}

impl Policy for AllTrained {
    fn is_due(&self, _: Elapsed, moment: Moment) -> bool {
        moment == Moment::Start
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        at.fraction()?;
        let mut plan = base.clone();
        for leaf in 0..plan.len() {
            plan.scale(leaf, self.scale)?;
        }
        let text = format!("trains: everything does, at {} times the learning rate", self.scale);
        let paths = plan.paths().to_vec();
        Ok(paths
            .into_iter()
            .fold(Decision::new(plan), |decision, leaf| decision.because(leaf, text.clone())))
    }

    fn describe(&self) -> String {
        format!("all-trained(scale={})", self.scale)
    }
}
