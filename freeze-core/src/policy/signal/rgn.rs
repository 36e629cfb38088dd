//! Auto-RGN of surgical fine-tuning: rates by the relative norm of gradients.

use serde::{Deserialize, Serialize};

use super::batches::{FirstBatches, Known};
use super::memory::{by_leaf, percent, settings_and_memory};
use crate::error::{Result, at_least_1};
use crate::plan::FreezePlan;
use crate::policy::{Decision, Elapsed, Family, Moment, Needs, Observation, Policy, Settings};

/// Trains each leaf at a share of the learning rate that follows the norm of its gradient relative to
/// its weights, measured in the first batches of each epoch.
///
/// ```text
/// RGN_i  = mean over the batches of ||g_i||_2 / ||w_i||_2
/// rate_i = RGN_i / max of all RGN_j
/// ```
///
/// over all tensors of a leaf together; weights are those after the step. The batches that are measured
/// train too, at the rates of the epoch before, in the first epoch at the full rate.
///
/// ```
/// use freeze_core::Policy;
/// use freeze_core::policy::{RgnSettings, Settings, relative_gradient, relative_rates};
///
/// let policy = RgnSettings { exclude: vec!["**.bn*".into()], ..Default::default() }.policy()?;
/// assert!(policy.describe().starts_with("rgn("));
/// assert_eq!(relative_gradient(3.0, 2.0), Some(1.5));
/// assert_eq!(relative_rates(&[Some(1.5), Some(3.0), None]), [0.5, 1.0, 1.0]);
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Source: Lee, Chen et al., "Surgical fine-tuning", ICLR 2023, arXiv:2210.11466; official code
/// anniesch/surgical-finetuning, which has 5 batches and goes by tensor.
///
/// Departs from the official code: what does not train is named by patterns (there every tensor with
/// `bn` in its name, `subnet.weight` as well); a leaf of zeros, such as a fresh one, trains at the full
/// rate (there the run dies); gradients that are all 0 leave the rates alone (there they become NaN);
/// and optimizer state is kept from epoch to epoch.
///
/// Limits: nothing freezes, so a step costs what it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Rgn {
    settings: RgnSettings,
    memory: FirstBatches,
}

/// The settings of [`Rgn`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RgnSettings {
    /// How many batches of each epoch are measured, at least 1; 5.
    pub batches: usize,
    /// Patterns of leaves that stay frozen, such as batch norms; none.
    pub exclude: Vec<String>,
}

impl Default for RgnSettings {
    fn default() -> Self {
        Self { batches: 5, exclude: vec![] }
    }
}

impl Settings for RgnSettings {
    const NAME: &'static str = "rgn";
    const FAMILY: Family = Family::Signal;
    const ABOUT: &'static str = "rates by relative gradient norms (surgical fine-tuning)";
    type Policy = Rgn;

    fn policy(self) -> Result<Rgn> {
        at_least_1("batches", self.batches)?;
        Ok(Rgn { settings: self, memory: FirstBatches::default() })
    }
}

/// The norm of a gradient relative to that of its weights; `None` if they are all 0.
pub fn relative_gradient(gradient: f64, weight: f64) -> Option<f64> {
    (weight != 0.0).then(|| gradient / weight)
}

/// The share of the learning rate for each relative norm: 1 for the largest, for those that cannot be
/// told, and for all if all are 0.
pub fn relative_rates(relative: &[Option<f64>]) -> Vec<f64> {
    let largest = relative.iter().copied().flatten().fold(0.0, f64::max);
    let share = |relative: &Option<f64>| match relative {
        Some(relative) if largest > 0.0 => relative / largest,
        _ => 1.0,
    };
    relative.iter().map(share).collect()
}

/// The base plan with what the patterns match frozen.
pub(super) fn excluding(base: &FreezePlan, exclude: &[String]) -> Result<Decision> {
    let mut decision = Decision::new(base.clone());
    for pattern in exclude {
        decision.plan.freeze(pattern)?;
    }
    for leaf in (0..base.len()).filter(|leaf| base.is_always(*leaf)) {
        if let Some(state) = base.state(leaf) {
            decision.plan.set(leaf, state)?;
        }
    }
    let excluded = (base.paths().iter().enumerate())
        .filter(|(leaf, _)| base.may_freeze(*leaf) && !decision.plan.may_freeze(*leaf));
    let excluded: Vec<&String> = excluded.map(|(_, path)| path).collect();
    Ok(excluded.into_iter().fold(decision, |decision, path| {
        decision.because(path, "froze: it is excluded by a pattern")
    }))
}

impl Policy for Rgn {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        self.memory.is_due(at, moment, self.settings.batches)
    }

    fn needs(&self, at: Elapsed) -> Needs {
        match self.memory.wants(at, self.settings.batches) {
            true => Needs::GRADIENT | Needs::WEIGHT,
            false => Needs::NONE,
        }
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        if seen.is_at_start() {
            return Ok(());
        }
        let square = |norms: Option<crate::plan::Norms>| norms.map(|norms| norms.l2 * norms.l2);
        let gradients = by_leaf(seen, |tensor| Ok(square(tensor.gradient_norms()?)))?;
        let weights = by_leaf(seen, |tensor| Ok(square(tensor.weight_norms()?)))?;
        let relative = gradients.into_iter().filter_map(|(leaf, gradient)| {
            let relative = relative_gradient(gradient.sqrt(), weights.get(&leaf)?.sqrt())?;
            Some((leaf, relative))
        });
        self.memory.take(seen.at(), relative.collect(), self.settings.batches);
        Ok(())
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let mut decision = excluding(base, &self.settings.exclude)?;
        let Known { means: Some(means), .. } = self.memory.known(at, self.settings.batches) else {
            return Ok(decision);
        };
        let relative: Vec<Option<f64>> =
            (0..base.len()).map(|leaf| means.get(&leaf).copied()).collect();
        let largest = relative.iter().copied().flatten().fold(0.0, f64::max);
        for (leaf, (share, relative)) in relative_rates(&relative).iter().zip(relative).enumerate()
        {
            decision.plan.scale(leaf, *share)?;
            if let (Some(relative), Some(path)) = (relative, base.paths().get(leaf)) {
                let text = format!(
                    "trains at {} of its rate: its gradient is {} of its weights, the largest {}",
                    percent(*share),
                    percent(relative),
                    percent(largest)
                );
                decision = decision.because(path, text);
            }
        }
        Ok(decision.metric("rgn/largest", largest))
    }

    settings_and_memory!();
}
