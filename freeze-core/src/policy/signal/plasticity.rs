//! Egeria: freezes the front where stage outputs have become stable.

use serde::{Deserialize, Serialize};

use super::memory::{frozen, settings_and_memory};
use super::stable::{Stable, Track};
use crate::error::{Error, Result, at_least_1, check_share};
use crate::plan::FreezePlan;
use crate::policy::{
    Acts, Decision, Elapsed, Family, Moment, Needs, Observation, Policy, Settings,
};

/// Freezes the frontmost stage that trains once its outputs on a fixed probe batch have become stable,
/// and thaws everything when the learning rate has dropped.
///
/// At each evaluation the [`similarities`](crate::policy::similarities) of the probe's samples are
/// compared with those of a reference, an earlier state of the model, by
/// [`plasticity`](crate::policy::plasticity). It is averaged over `average` evaluations, and the
/// [`slope`](crate::policy::slope) of the last `window` averages is its trend. The frontmost stage is
/// quiet if the trend is at most `share` of that stage's first, up or down, and freezes when it was
/// quiet for `window` evaluations in a row. The reference is taken anew every `refresh` evaluations.
/// The last stage never freezes.
///
/// Evaluations are in the first step of each epoch, or in every n-th step, as `acts` says; the first is
/// before the run and only sets the reference. Only matrices of samples by samples are kept.
///
/// A run needs [`probe`](crate::Training::probe), which computes the outputs.
///
/// ```
/// use freeze_core::Policy;
/// use freeze_core::policy::{PlasticitySettings, Settings};
///
/// // The rate is divided by ten at half of the run.
/// let policy = PlasticitySettings { unfreeze_at: vec![0.5], ..Default::default() }.policy()?;
/// assert!(policy.describe().starts_with("plasticity("));
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Source: Wang et al., "Egeria", EuroSys 2023, arXiv:2201.06227. There is no official code; how
/// matrices are normalised, the window and the share of 0.2 come from descriptions of others.
///
/// Departs from the paper: the reference is the model's own outputs of some evaluations ago, not a
/// quantised copy that runs elsewhere. It thaws when the rate has dropped by 10; here the user says
/// when, by `unfreeze_at` or [`rate_dropped`](Self::rate_dropped), and the window is halved then. A
/// warm-up in which nothing freezes is a matter of combinators.
///
/// Limits: it takes two windows at least before anything freezes, so a run of few epochs should
/// evaluate by steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Plasticity {
    settings: PlasticitySettings,
    memory: Memory,
}

/// The settings of [`Plasticity`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PlasticitySettings {
    /// When it evaluates; once in each epoch.
    pub acts: Acts,
    /// Over how many averages the trend is taken, and how many evaluations in a row must be quiet, at
    /// least 2; 5.
    pub window: usize,
    /// Over how many evaluations the plasticity is averaged, at least 1; 3.
    pub average: usize,
    /// The share of a stage's first trend, above 0 and up to 1, up to which it is quiet; 0.2.
    pub share: f64,
    /// After how many evaluations the reference is taken anew, at least 1; 5.
    pub refresh: usize,
    /// The shares of the run, in (0, 1), at which everything thaws because the learning rate drops;
    /// none.
    pub unfreeze_at: Vec<f64>,
}

impl Default for PlasticitySettings {
    fn default() -> Self {
        let (acts, unfreeze_at) = (Acts::AT_EPOCHS, vec![]);
        Self { acts, window: 5, average: 3, share: 0.2, refresh: 5, unfreeze_at }
    }
}

impl Settings for PlasticitySettings {
    const NAME: &'static str = "plasticity";
    const FAMILY: Family = Family::Signal;
    const ABOUT: &'static str = "freezes the front where outputs have become stable (Egeria)";
    type Policy = Plasticity;

    fn policy(self) -> Result<Plasticity> {
        self.acts.check()?;
        if self.window < 2 {
            return Err(Error::count("window", self.window, "at least 2"));
        }
        at_least_1("average", self.average)?;
        check_share("share", self.share)?;
        at_least_1("refresh", self.refresh)?;
        if let Some(&value) = self.unfreeze_at.iter().find(|at| !(**at > 0.0 && **at < 1.0)) {
            let expected = "numbers above 0 and below 1";
            return Err(Error::Number { name: "unfreeze_at", value, expected });
        }
        let track = Track::new(self.window);
        let memory = Memory { epoch: None, is_new: false, drops: 0, has_dropped: false, track };
        Ok(Plasticity { settings: self, memory })
    }
}

/// What is remembered between evaluations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    /// The epochs completed at the last evaluation; `None` before the first.
    epoch: Option<usize>,
    /// Whether no decision has looked at the last evaluation.
    is_new: bool,
    /// How many of the shares in `unfreeze_at` are over.
    drops: usize,
    /// Whether the rate has dropped since the last decision, as the user says.
    has_dropped: bool,
    track: Track,
}

impl Plasticity {
    /// Says that the learning rate has dropped: the next decision thaws everything.
    pub fn rate_dropped(&mut self) {
        self.memory.has_dropped = true;
    }

    /// Whether the step after `at` is one to evaluate in.
    fn wants(&self, at: Elapsed) -> bool {
        let Acts { epochs, steps } = self.settings.acts;
        let by_steps = steps > 0 && at.step.saturating_add(1).is_multiple_of(steps);
        let is_new_epoch = self.memory.epoch != Some(at.epoch);
        self.memory.epoch.is_none() || epochs && is_new_epoch || by_steps
    }

    /// How many drops of the rate are over.
    fn drops(&self, at: Elapsed) -> Result<usize> {
        let at = match self.settings.unfreeze_at.is_empty() {
            true => return Ok(0),
            false => at.fraction()?,
        };
        Ok(self.settings.unfreeze_at.iter().filter(|drop| **drop <= at).count())
    }
}

impl Policy for Plasticity {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        let Memory { is_new, has_dropped, drops, .. } = self.memory;
        let has_passed = || self.drops(at).map_or(true, |now| now > drops);
        moment != Moment::Start && (is_new || has_dropped || has_passed())
    }

    fn needs(&self, at: Elapsed) -> Needs {
        match self.wants(at) {
            true => Needs::OUTPUTS,
            false => Needs::NONE,
        }
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        let mut before = seen.at();
        before.step -= usize::from(!seen.is_at_start() && before.step > 0);
        if seen.stage_outputs().is_empty() || !self.wants(before) {
            return Ok(());
        }
        let PlasticitySettings { average, share, refresh, .. } = self.settings;
        let mut track = self.memory.track.clone();
        track.evaluate(seen.stage_outputs(), Stable { average, share, refresh })?;
        let memory = Memory { epoch: Some(before.epoch), is_new: true, track, ..self.memory };
        self.memory = memory;
        Ok(())
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let drops = self.drops(at)?;
        let mut track = self.memory.track.clone();
        if drops > self.memory.drops || self.memory.has_dropped {
            track.thaw();
        }
        let (front, last) = (track.front(), track.last());
        if front.last().is_some_and(|(leaf, _)| *leaf >= base.len()) {
            return Err(Error::Depth { asked: front.len(), leaves: base.len() });
        }
        let mut decision = frozen(base, front)?;
        if let Some((slope, threshold)) = last {
            decision = decision.metric("plasticity/slope", slope);
            decision = decision.metric("plasticity/threshold", threshold);
        }
        let (has_dropped, is_new, epoch) = (false, false, self.memory.epoch);
        self.memory = Memory { epoch, is_new, drops, has_dropped, track };
        Ok(decision)
    }

    settings_and_memory!();
}
