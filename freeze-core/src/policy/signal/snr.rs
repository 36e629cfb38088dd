//! Auto-SNR of surgical fine-tuning: trains what has more signal than noise.

use serde::{Deserialize, Serialize};

use super::batches::{FirstBatches, Known};
use super::memory::{mean_by_leaf, settings_and_memory};
use super::rgn::excluding;
use crate::error::{Result, at_least_1, check_positive};
use crate::plan::{FreezePlan, LeafState, StatePolicy};
use crate::policy::{
    Decision, Elapsed, Family, Moment, Needs, Observation, Policy, Seen, Settings,
};

/// Freezes, in each epoch anew, the leaves whose gradients have a signal-to-noise ratio below
/// `threshold` in the epoch's first batches.
///
/// ```text
/// SNR_i = mean over the batches of mean( g_i^2 / (Var(g_i) + 1e-8) )
/// ```
///
/// with the unbiased variance over dimension 0 of the gradient, and the mean over the elements of all
/// tensors of a leaf that have more than one entry there. While the first batches are measured, leaves
/// that were frozen train at rate 0: they have gradients and do not move. In the first epoch these
/// batches train at the full rate. Optimizer state of frozen leaves is kept.
///
/// ```
/// use freeze_core::Policy;
/// use freeze_core::policy::{Settings, SnrSettings, gradient_signal_to_noise};
///
/// let policy = SnrSettings { batches: 3, ..Default::default() }.policy()?;
/// assert!(policy.describe().starts_with("snr(batches=3"));
/// // Two rows of two: the first column has mean 2 and variance 2, the second is constant 0.
/// let ratio = gradient_signal_to_noise(&[1.0, 0.0, 3.0, 0.0], 2).expect("two rows");
/// assert!((ratio - 10.0 / 2.0 / 4.0).abs() < 1e-6);
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Source: Lee, Chen et al., "Surgical fine-tuning", ICLR 2023, arXiv:2210.11466 ("Auto-SNR"); official
/// code anniesch/surgical-finetuning ("eb-criterion"), with 5 batches and threshold 0.95.
///
/// Departs from the official code: what does not train is named by patterns (there every tensor with
/// `bn` in its name); a tensor with one entry in dimension 0 has no variance and is left out of its
/// leaf's mean, and a leaf of such tensors trains (there its ratio is NaN, and it trains by accident);
/// optimizer state is kept from epoch to epoch.
///
/// Limits: as in the official code the variance is over the entries of one gradient, not over samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Snr {
    settings: SnrSettings,
    memory: FirstBatches,
}

/// The settings of [`Snr`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SnrSettings {
    /// How many batches of each epoch are measured, at least 1; 5.
    pub batches: usize,
    /// The ratio below which a leaf freezes, above 0; 0.95.
    pub threshold: f64,
    /// Patterns of leaves that stay frozen, such as batch norms; none.
    pub exclude: Vec<String>,
}

impl Default for SnrSettings {
    fn default() -> Self {
        Self { batches: 5, threshold: 0.95, exclude: vec![] }
    }
}

impl Settings for SnrSettings {
    const NAME: &'static str = "snr";
    const FAMILY: Family = Family::Signal;
    const ABOUT: &'static str = "trains what has more signal than noise (surgical fine-tuning)";
    type Policy = Snr;

    fn policy(self) -> Result<Snr> {
        at_least_1("batches", self.batches)?;
        check_positive("threshold", self.threshold)?;
        Ok(Snr { settings: self, memory: FirstBatches::default() })
    }
}

/// The mean of g^2 / (Var(g) + 1e-8) over the elements of a gradient with `rows` entries in dimension
/// 0, and the unbiased variance over these; `None` if there are fewer than 2.
pub fn gradient_signal_to_noise(gradient: &[f64], rows: usize) -> Option<f64> {
    let columns = gradient.len().checked_div(rows)?;
    if rows < 2 || columns == 0 {
        return None;
    }
    let mut sum = 0.0;
    for column in 0..columns {
        let entries = || gradient.iter().skip(column).step_by(columns);
        let mean = entries().sum::<f64>() / rows as f64;
        let squares: f64 = entries().map(|entry| (entry - mean) * (entry - mean)).sum();
        let variance = squares / (rows - 1) as f64;
        sum += entries().map(|entry| entry * entry / (variance + 1e-8)).sum::<f64>();
    }
    Some(sum / gradient.len() as f64)
}

impl Policy for Snr {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        self.memory.is_due(at, moment, self.settings.batches)
    }

    fn needs(&self, at: Elapsed) -> Needs {
        match self.memory.wants(at, self.settings.batches) {
            true => Needs::SIGNAL_TO_NOISE,
            false => Needs::NONE,
        }
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        if seen.is_at_start() {
            return Ok(());
        }
        let ratios = mean_by_leaf(seen, Seen::gradient_signal_to_noise)?;
        self.memory.take(seen.at(), ratios, self.settings.batches);
        Ok(())
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let mut decision = excluding(base, &self.settings.exclude)?.keeping(StatePolicy::Keep);
        let known = self.memory.known(at, self.settings.batches);
        let Known { means: Some(means), is_measured } = known else { return Ok(decision) };
        let threshold = self.settings.threshold;
        for (leaf, path) in base.paths().iter().enumerate() {
            let free = decision.plan.may_freeze(leaf);
            let Some(&ratio) = means.get(&leaf).filter(|_| free) else { continue };
            let numbers = format!("its signal-to-noise ratio is {ratio:.3}");
            let text = match (ratio < threshold, is_measured) {
                (true, true) => {
                    decision.plan.set(leaf, LeafState::Frozen)?;
                    format!("froze: {numbers}, below {threshold}")
                }
                (true, false) => {
                    decision.plan.scale(leaf, 0.0)?;
                    "thawed at rate 0: its signal-to-noise ratio is measured again".into()
                }
                (false, _) => format!("thawed: {numbers}, not below {threshold}"),
            };
            decision = decision.because(path, text);
        }
        Ok(decision)
    }

    settings_and_memory!();
}
