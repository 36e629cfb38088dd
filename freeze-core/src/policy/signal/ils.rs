//! SlimFit's inter-layer scheduling: in each step what changed most trains.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::memory::{ByLeaf, frozen, mean_by_leaf, percent, settings_and_memory};
use crate::error::{Result, check_unit};
use crate::plan::{FreezePlan, StatePolicy};
use crate::policy::{
    Decision, Elapsed, Family, Moment, Needs, Observation, Policy, Seen, Settings,
};

/// Freezes, anew in each step, the share `rate` of the leaves: those whose weights changed least in the
/// last step in which they trained.
///
/// ```text
/// d_i    = (1 / n_i) * sum of |(w_old - w_new) / w_old| over the elements of a leaf that trained
/// frozen = the trunc(rate * n) leaves with the smallest d, the first of equal ones
/// ```
///
/// The tensors of a leaf count as one, by their elements. Leaves that have not trained yet come first,
/// in an order drawn from `seed`; a leaf that is frozen keeps its `d`. Optimizer state of frozen leaves
/// is kept, since they take turns.
///
/// ```
/// use freeze_core::Policy;
/// use freeze_core::policy::{IlsSettings, Settings, least_changed};
///
/// let policy = IlsSettings { rate: 0.8, ..Default::default() }.policy()?;
/// assert!(policy.describe().starts_with("ils(rate=0.8"));
/// assert_eq!(least_changed(&[0.3, 0.1, 0.2], 0.7), [1, 2]);
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Source: Ardakani et al., "SlimFit", NAACL 2024, arXiv:2305.18513; official code
/// arashardakani/SlimFit, whose rates are 0.75 to 0.95.
///
/// Departs from the official code: an element that is exactly 0 counts as unchanged (there it makes `d`
/// infinite or NaN, and its tensor trains in every step from then on), and biases go with their layer
/// (there they always train).
///
/// Limits: something is frozen and thawed in every step, so that an activation cache finds nothing. A leaf
/// that never trains, since no loss reaches it or something else freezes it, keeps its place among those that
/// train: freeze it by hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Ils {
    settings: IlsSettings,
    memory: Memory,
}

/// The settings of [`Ils`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct IlsSettings {
    /// The share of the leaves, in [0, 1], that is frozen; 0.9.
    pub rate: f64,
    /// What the order of the first turns is drawn from; 0.
    pub seed: u64,
    /// What becomes of the optimizer state of frozen leaves; kept.
    pub state: StatePolicy,
}

impl Default for IlsSettings {
    fn default() -> Self {
        Self { rate: 0.9, seed: 0, state: StatePolicy::Keep }
    }
}

impl Settings for IlsSettings {
    const NAME: &'static str = "ils";
    const FAMILY: Family = Family::Signal;
    const ABOUT: &'static str = "trains what changed most, anew in each step (SlimFit)";
    type Policy = Ils;

    fn policy(self) -> Result<Ils> {
        check_unit("rate", self.rate)?;
        Ok(Ils { settings: self, memory: Memory::default() })
    }
}

/// What is remembered between steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    /// The relative change of each leaf in the last step in which it trained.
    changes: ByLeaf,
}

/// The score of a leaf that has not trained, above that of any that has.
const UNTRAINED: f64 = 1e300;

/// The `trunc(rate * n)` of `n` scores that are smallest, the first of equal ones, in order.
pub fn least_changed(scores: &[f64], rate: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    order.truncate((rate * scores.len() as f64) as usize);
    order.sort_unstable();
    order
}

/// The mean of |(before - after) / before|, where elements that were 0 count as unchanged.
pub fn relative_update(before: &[f64], after: &[f64]) -> f64 {
    let changes = before.iter().zip(after).map(|(&before, &after)| match before == 0.0 {
        true => 0.0,
        false => ((before - after) / before).abs(),
    });
    changes.sum::<f64>() / before.len().max(1) as f64
}

impl Ils {
    /// The scores of these leaves, in a model of `leaves` leaves.
    fn scores(&self, leaves: usize, free: &[usize]) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.settings.seed);
        let mut turns: Vec<(u64, usize)> = (0..leaves).map(|leaf| (rng.next_u64(), leaf)).collect();
        turns.sort_unstable();
        let mut turn = vec![0; leaves];
        turns.iter().enumerate().for_each(|(at, (_, leaf))| turn[*leaf] = at);
        let untrained = |leaf: usize| UNTRAINED * (1 + turn[leaf]) as f64;
        let score = |leaf: &usize| {
            self.memory.changes.get(leaf).copied().unwrap_or_else(|| untrained(*leaf))
        };
        free.iter().map(score).collect()
    }
}

impl Policy for Ils {
    fn is_due(&self, _: Elapsed, _: Moment) -> bool {
        true
    }

    fn needs(&self, _: Elapsed) -> Needs {
        Needs::RELATIVE_UPDATE
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        self.memory.changes.extend(mean_by_leaf(seen, Seen::mean_relative_update)?);
        Ok(())
    }

    fn decide(&mut self, _: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let free: Vec<usize> = (0..base.len()).filter(|leaf| base.may_freeze(*leaf)).collect();
        let scores = self.scores(base.len(), &free);
        let least = least_changed(&scores, self.settings.rate);
        let of = format!("{} of {} leaves", least.len(), free.len());
        let mut why = vec![format!("thawed: not among the {of} that changed least"); free.len()];
        for &at in &least {
            why[at] = match scores[at] < UNTRAINED {
                true => {
                    format!("froze: it changed by {}, among the least {of}", percent(scores[at]))
                }
                false => format!("froze: its first turn comes later, with {of} frozen"),
            };
        }
        let mut decision =
            frozen(base, least.iter().map(|&at| (free[at], std::mem::take(&mut why[at]))))?;
        for (&leaf, text) in free.iter().zip(why).filter(|(_, text)| !text.is_empty()) {
            decision = decision.because(&base.paths()[leaf], text);
        }
        Ok(decision.keeping(self.settings.state).metric("ils/frozen", least.len() as f64))
    }

    settings_and_memory!();
}
