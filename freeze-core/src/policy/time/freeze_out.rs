//! FreezeOut: each leaf on a cosine of its own.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::grouped::{Grouped, freeze};
use super::rhythm::{check_run, counted, is_due, over};
use crate::error::{Error, Result, check_positive, check_unit};
use crate::plan::FreezePlan;
use crate::policy::settings::described;
use crate::policy::{Acts, By, Decision, Elapsed, Family, Moment, Policy, Settings};

/// Lets the rate of each leaf fall along a cosine of its own, the first leaves the fastest, and
/// freezes a leaf where its cosine ends.
///
/// With `t` in [0, 1], the completed share of the run, and leaf `i` of `n`:
///
/// ```text
/// t_i  = s(t0 + (1 - t0) * i / (n - 1))        s(x) = x, x^2 or x^3
/// rate = 1/2 * a_i * (1 + cos(pi * t / t_i))   while t <= t_i, then frozen
/// a_i  = 1 / t_i if scaled, otherwise 1
/// ```
///
/// The rate is a share of the learning rate, which should be constant. Scaled, each leaf travels as
/// far as along a cosine over the whole run; the first ones then begin above the learning rate, by
/// a lot if `t0` is small. A leaf that is declared `always` has `t_i = 1`.
///
/// ```
/// use freeze_core::policy::{FreezeOutSettings, Settings};
///
/// let policy = FreezeOutSettings { t0: 0.5, scaled: false, ..Default::default() }.policy()?;
/// assert_eq!(policy.ends(3), [0.125, 0.421875, 1.0]);
/// assert_eq!(policy.rate(0.5, 250, 1000), Some(0.5));
/// assert_eq!(policy.rate(0.5, 501, 1000), None);
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Source: Brock et al., "FreezeOut", 2017 (arXiv:1706.04983), and ajbrock/FreezeOut, whose defaults
/// these are. Their claim: 20 % less time at 3 % more error on DenseNets, none lost on ResNets, no gain
/// on VGG. It looks at time alone, so `t0` has to suit the task.
///
/// Where we depart from that code: time is a share of the run's steps, not of 1000 iterations for each
/// epoch, by which cosines never end in shorter epochs; a single leaf trains for the whole run,
/// and with `t0 = 0` the first is frozen from the start, where that code divides by zero.
#[derive(Clone, Debug)]
pub struct FreezeOut {
    settings: FreezeOutSettings,
    blocks: Grouped,
}

/// The settings of [`FreezeOut`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FreezeOutSettings {
    /// Where the first leaf ends, before the power: a number from 0 to 1; 0.8.
    pub t0: f64,
    /// How the ends lie between the first leaf's and the end of the run; cubic.
    pub how: Spacing,
    /// Whether rates are scaled so that each leaf travels as far; they are.
    pub scaled: bool,
    /// When rates change; after every step.
    pub acts: Acts,
    /// What ends together; each leaf on its own.
    pub by: By,
}

/// How the ends of the leaves of [`FreezeOut`] are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// Evenly.
    Linear,
    /// By the square.
    Squared,
    /// By the cube.
    #[default]
    Cubic,
}

impl Default for FreezeOutSettings {
    fn default() -> Self {
        let acts = Acts { epochs: false, steps: 1 };
        Self { t0: 0.8, how: Spacing::Cubic, scaled: true, acts, by: By::Leaf }
    }
}

impl Settings for FreezeOutSettings {
    const NAME: &'static str = "freeze-out";
    const FAMILY: Family = Family::Time;
    const ABOUT: &'static str = "each leaf on a cosine of its own, the first end first (FreezeOut)";
    type Policy = FreezeOut;

    fn policy(self) -> Result<FreezeOut> {
        self.acts.check()?;
        self.by.check(Self::NAME)?;
        check_unit("t0", self.t0)?;
        Ok(FreezeOut { blocks: Grouped::new(self.by.clone()), settings: self })
    }
}

impl FreezeOut {
    /// The share of the run after which each of `leaves` leaves is frozen.
    pub fn ends(&self, leaves: usize) -> Vec<f64> {
        let FreezeOutSettings { t0, how, .. } = self.settings;
        let last = leaves.saturating_sub(1);
        let end = |leaf: usize| {
            let x = t0 + (1.0 - t0) * leaf as f64 / last as f64;
            match how {
                _ if leaf == last => 1.0,
                Spacing::Linear => x,
                Spacing::Squared => x * x,
                Spacing::Cubic => x * x * x,
            }
        };
        (0..leaves).map(end).collect()
    }

    /// The share of the learning rate of a leaf that ends at the share `end` of the run, after `done` of
    /// `total` steps; `None` once it is frozen.
    pub fn rate(&self, end: f64, done: usize, total: usize) -> Option<f64> {
        let last = total as f64 * end;
        let highest = if self.settings.scaled { 1.0 / end } else { 1.0 };
        let rate = 0.5 * highest * (1.0 + libm::cos(PI * done as f64 / last));
        // A cosine without length has no rate.
        (done as f64 <= last && rate.is_finite()).then_some(rate)
    }

    /// The share of a run's time that is saved if leaf `i` costs `costs[i]` forward and as much
    /// backward, in any unit, and its backward ends at the share `ends[i]` of the run.
    ///
    /// ```text
    /// 1 - (sum(c) + sum(c * t)) / (2 * sum(c))
    /// ```
    ///
    /// The authors' estimate takes the ends of one leaf more than there are, and multiplies by 1.3 if
    /// they are spaced evenly; no reason is given, so this does not.
    ///
    /// # Errors
    ///
    /// The lengths differ, or the costs do not add up to a finite number above 0.
    pub fn time_saved(costs: &[f64], ends: &[f64]) -> Result<f64> {
        if costs.len() != ends.len() {
            return Err(Error::count("ends", ends.len(), "as many as costs"));
        }
        let whole: f64 = costs.iter().sum();
        check_positive("costs", whole)?;
        let backward: f64 = costs.iter().zip(ends).map(|(cost, end)| cost * end).sum();
        Ok(1.0 - (whole + backward) / (2.0 * whole))
    }
}

impl Policy for FreezeOut {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        moment == Moment::Start || is_due(self.settings.acts, at, moment)
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        check_run(self.settings.acts, at)?;
        let (done, total) = counted(at)?;
        let blocks = self.blocks.of(base)?;
        let mut decision = Decision::new(base.clone());
        for (block, end) in self.ends(blocks.len()).into_iter().enumerate() {
            let rate = self.rate(end, done, total);
            let why = || format!("froze: {}, its rate falls to 0 at {end:.3} of the run", over(at));
            let why = if rate.is_none() { why() } else { String::new() };
            for &leaf in blocks.leaves(block) {
                let rate = if base.is_always(leaf) { self.rate(1.0, done, total) } else { rate };
                match rate {
                    Some(rate) => drop(decision.plan.scale(leaf, rate)?),
                    None => freeze(&mut decision, leaf, &why)?,
                }
            }
        }
        Ok(decision)
    }

    fn describe(&self) -> String {
        described(&self.settings)
    }
}
