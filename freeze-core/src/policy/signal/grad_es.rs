//! GradES: freezes what hardly moves any more, anywhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::memory::{ByLeaf, by_leaf, counted, frozen, percent, settings_and_memory};
use super::quiet::interpolated;
use crate::error::{Error, Result, at_least_1, check_positive, check_share, check_unit};
use crate::plan::{FreezePlan, LeafState, matching_any};
use crate::policy::{Decision, Elapsed, Family, Moment, Needs, Observation, Policy, Settings};

/// Freezes each leaf whose weights hardly change any more, wherever it is in the model, and ends the
/// run when the share `max_frozen` is frozen.
///
/// After every `interval` steps, from the share `alpha` of the run on, rounded down to whole steps, a
/// leaf is calm if its change is below `tau`, and it freezes when it was calm at `patience` checks in
/// a row. With `dW` the change of its weights since the check before and `lr_share` its share of the
/// learning rate in the base plan:
///
/// ```text
/// change = ||dW||_1 / (lr_share * ||W||_1)     relative, the default
/// change = ||dW||_1                            the official code
/// ```
///
/// ```
/// use freeze_core::Policy;
/// use freeze_core::policy::{GradEsSettings, Settings};
///
/// let policy = GradEsSettings { tau: 1e-3, interval: 10, ..Default::default() }.policy()?;
/// assert!(policy.describe().starts_with("grad-es(alpha=0.3"));
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Source: Wen et al., "GradES", 2025, arXiv:2509.01842; official code IXZZZ9/GradES, whose criterion
/// is the change of the weights between checks, not the paper's gradient. `relative: false`,
/// `patience: 1` is the official rule, with several thresholds by `taus`.
///
/// Departs from the official code: the first check measures nothing and freezes nothing (there it
/// reports a change of 0, so everything freezes where the grace period is over by then); the relative
/// change does not depend on size, and one calm check does not freeze. As there, `max_frozen` ends the
/// run and is no cap.
///
/// Limits: a change shrinks with the learning rate, so a schedule that decays the rate freezes in the
/// end whatever there is; nothing thaws. No `tau` suits all models: the metric
/// `grad_es/median_change` shows what there is to choose from. Takes a copy of the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct GradEs {
    settings: GradEsSettings,
    memory: Memory,
}

/// The settings of [`GradEs`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GradEsSettings {
    /// The change below which a leaf is calm, above 0; 1e-4.
    pub tau: f64,
    /// Patterns over paths, and `tau` for the leaves that they match; the first that matches counts.
    pub taus: Vec<(String, f64)>,
    /// Whether changes are relative to the weights and to the leaf's share of the learning rate.
    pub relative: bool,
    /// The share of the run, in [0, 1], before which nothing freezes; 0.3.
    pub alpha: f64,
    /// After how many calm checks in a row a leaf freezes; 3.
    pub patience: usize,
    /// The number of steps from one check to the next; 1.
    pub interval: usize,
    /// The share of the leaves that can train, above 0 and up to 1, at which the run ends; 1.
    pub max_frozen: f64,
}

impl Default for GradEsSettings {
    fn default() -> Self {
        let (relative, patience, interval) = (true, 3, 1);
        Self { tau: 1e-4, taus: vec![], relative, alpha: 0.3, patience, interval, max_frozen: 1.0 }
    }
}

impl Settings for GradEsSettings {
    const NAME: &'static str = "grad-es";
    const FAMILY: Family = Family::Signal;
    const ABOUT: &'static str = "freezes what hardly moves any more, anywhere (GradES)";
    type Policy = GradEs;

    fn policy(self) -> Result<GradEs> {
        check_positive("tau", self.tau)?;
        self.taus.iter().try_for_each(|(_, tau)| check_positive("taus", *tau))?;
        check_unit("alpha", self.alpha)?;
        at_least_1("patience", self.patience)?;
        at_least_1("interval", self.interval)?;
        check_share("max_frozen", self.max_frozen)?;
        Ok(GradEs { settings: self, memory: Memory::default() })
    }
}

/// What is remembered between checks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    /// A check that no decision has looked at.
    waiting: Option<Check>,
    /// At how many checks in a row each leaf was calm.
    calm: BTreeMap<usize, usize>,
    /// The median change of the last check.
    median: Option<f64>,
    /// Why each frozen leaf froze.
    why: BTreeMap<usize, String>,
}

/// The L1 norms of one check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    step: usize,
    changes: ByLeaf,
    weights: ByLeaf,
}

impl GradEs {
    /// Whether the grace period is over after `step` of `steps` steps.
    pub fn is_past_grace(&self, step: usize, steps: usize) -> bool {
        step >= (self.settings.alpha * steps as f64) as usize
    }

    /// The memory after the check that waits.
    fn advanced(&self, at: Elapsed, base: &FreezePlan) -> Result<Memory> {
        let taus = self.taus(base)?;
        let mut memory = self.memory.clone();
        let Some(check) = memory.waiting.take() else { return Ok(memory) };
        let measured = check
            .changes
            .iter()
            .filter(|(leaf, _)| base.may_freeze(**leaf) && !memory.why.contains_key(leaf));
        let measured = measured.filter_map(|(&leaf, &change)| match self.settings.relative {
            false => Some((leaf, change)),
            true => relative(change, *check.weights.get(&leaf)?, base.state(leaf)?)
                .map(|change| (leaf, change)),
        });
        let measured: Vec<(usize, f64)> = measured.collect();
        let mut changes: Vec<f64> = measured.iter().map(|(_, change)| *change).collect();
        memory.median = interpolated(&mut changes, 50.0).or(memory.median);
        if !self.is_past_grace(check.step, at.steps) {
            return Ok(memory);
        }
        for (leaf, change) in measured {
            let tau = taus.get(leaf).copied().unwrap_or(self.settings.tau);
            let calm = memory.calm.remove(&leaf).unwrap_or(0) + 1;
            match change < tau {
                true if calm >= self.settings.patience => {
                    memory.why.insert(leaf, self.reason(change, tau));
                }
                true => drop(memory.calm.insert(leaf, calm)),
                false => {}
            }
        }
        Ok(memory)
    }

    /// The threshold of each leaf.
    fn taus(&self, base: &FreezePlan) -> Result<Vec<f64>> {
        let mut taus = vec![self.settings.tau; base.len()];
        for (pattern, tau) in self.settings.taus.iter().rev() {
            for leaf in matching_any(pattern, base.paths())? {
                taus[leaf] = *tau;
            }
        }
        Ok(taus)
    }

    fn reason(&self, change: f64, tau: f64) -> String {
        let GradEsSettings { relative, patience, interval, .. } = self.settings;
        let (change, tau) = match relative {
            true => (percent(change), percent(tau)),
            false => (format!("{change:.3e}"), format!("{tau:.3e}")),
        };
        format!(
            "froze: its weights changed by {change} in {interval} steps, below {tau} for {patience} \
             checks"
        )
    }
}

/// The change relative to the weights, at the full learning rate; `None` if it cannot be told.
fn relative(change: f64, weight: f64, state: LeafState) -> Option<f64> {
    let LeafState::Trained { lr_scale } = state else { return None };
    let relative = change / (lr_scale * weight);
    relative.is_finite().then_some(relative)
}

impl Policy for GradEs {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        match moment {
            Moment::Start => at.steps > 0 && self.settings.interval > at.steps,
            _ => at.steps == 0 || at.step.is_multiple_of(self.settings.interval),
        }
    }

    fn needs(&self, at: Elapsed) -> Needs {
        let GradEsSettings { interval, relative, .. } = self.settings;
        let next = at.step.saturating_add(1);
        // A change is first of use at the first check past the grace period.
        let is_used = self.is_past_grace(next.saturating_add(interval), at.steps);
        match (is_used && next.is_multiple_of(interval), relative) {
            (false, _) => Needs::NONE,
            (true, true) => Needs::WEIGHT_CHANGE | Needs::WEIGHT,
            (true, false) => Needs::WEIGHT_CHANGE,
        }
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        let step = seen.at().step;
        if seen.is_at_start() || !step.is_multiple_of(self.settings.interval) {
            return Ok(());
        }
        let l1 = |norms: Option<crate::plan::Norms>| norms.map(|norms| norms.l1);
        let changes = by_leaf(seen, |tensor| Ok(l1(tensor.weight_change_norms()?)))?;
        let weights = match self.settings.relative {
            true => by_leaf(seen, |tensor| Ok(l1(tensor.weight_norms()?)))?,
            false => ByLeaf::new(),
        };
        self.memory.waiting = Some(Check { step, changes, weights });
        Ok(())
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        counted(at)?;
        let GradEsSettings { interval, max_frozen, .. } = self.settings;
        if interval > at.steps {
            return Err(Error::count("interval", interval, "at most the steps of the run"));
        }
        let memory = self.advanced(at, base)?;
        let mut decision = frozen(base, memory.why.iter().map(|(&leaf, text)| (leaf, text)))?;
        let all = (0..base.len()).filter(|leaf| base.may_freeze(*leaf)).count();
        let done = memory.why.keys().filter(|leaf| base.may_freeze(**leaf)).count();
        decision.ends_run = all > 0 && done as f64 / all as f64 >= max_frozen;
        if let Some(median) = memory.median {
            decision = decision.metric("grad_es/median_change", median);
        }
        self.memory = memory;
        Ok(decision)
    }

    settings_and_memory!();
}
