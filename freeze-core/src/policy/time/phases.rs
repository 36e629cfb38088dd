//! A list of plans, one after another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::grouped::{explain, freeze};
use super::when::{self, When};
use crate::error::{Error, Result, at_least_1, check_number, check_positive};
use crate::plan::{FreezePlan, matching};
use crate::policy::settings::described;
use crate::policy::{Blocks, By, Decision, Elapsed, Family, Moment, Policy, Settings};

/// Follows a list of phases, each with its own plan.
///
/// ```
/// use freeze_core::policy::{Phase, PhasesSettings, Settings, When};
///
/// let phases = vec![
///     Phase { train: vec!["head".into()], until: Some(When::Epoch(1)), ..Default::default() },
///     Phase { rates: [("body.**".into(), 0.1)].into(), ..Default::default() },
/// ];
/// let policy = PhasesSettings { phases }.policy()?;
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// [`PhasesSettings::fine_tune`] makes fastai's recipe. By default there is one phase, in which
/// everything trains. All patterns are looked up at the start, so one that matches no leaf is not
/// found late in the run.
#[derive(Clone, Debug)]
pub struct Phases {
    settings: PhasesSettings,
}

/// The settings of [`Phases`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhasesSettings {
    /// The phases in the order of time.
    pub phases: Vec<Phase>,
}

/// One phase of [`Phases`]. Patterns are those of
/// [`FreezePlan::set_matching`](crate::FreezePlan::set_matching).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Phase {
    /// The only leaves that train; if it is empty, all do.
    pub train: Vec<String>,
    /// Leaves that do not train even so.
    pub freeze: Vec<String>,
    /// Factors of the learning rate. Those of a leaf that several patterns match are multiplied.
    pub rates: BTreeMap<String, f64>,
    /// When the next phase begins; `None` in the last phase, and only there.
    pub until: Option<When>,
}

impl Default for PhasesSettings {
    fn default() -> Self {
        Self { phases: vec![Phase::default()] }
    }
}

impl Settings for PhasesSettings {
    const NAME: &'static str = "phases";
    const FAMILY: Family = Family::Time;
    const ABOUT: &'static str = "a list of plans, one after another (fastai)";
    type Policy = Phases;

    fn policy(self) -> Result<Phases> {
        let refuse = |why: String| Err(Error::policy(Self::NAME, why));
        let Some((last, others)) = self.phases.split_last() else {
            return refuse("it has no phase; give at least one".into());
        };
        if let Some(n) = others.iter().position(|phase| phase.until.is_none()) {
            let n = n + 1;
            return refuse(format!("phase {n} is not the last one and has no `until`; add it"));
        }
        if let Some(until) = last.until {
            let until = until.words();
            return refuse(format!(
                "the last phase goes on to the end of the run, not until {until}; leave `until` out"
            ));
        }
        when::check(Self::NAME, &self.ends())?;
        self.phases.iter().try_for_each(Phase::check)?;
        Ok(Phases { settings: self })
    }
}

impl PhasesSettings {
    /// fastai's recipe for fine-tuning: the last group alone for `epochs` epochs, then everything at half
    /// of the learning rate, the first group at a share `1 / lr_mult` of that, those between them evenly
    /// spaced by factors.
    ///
    /// `groups` are patterns from the input to the head. Source: `fine_tune` of fastai 2, where `epochs`
    /// is 1 and `lr_mult` 100. It also lets the rate rise and fall in each phase, which is up to the
    /// run's own rate.
    ///
    /// # Errors
    ///
    /// There is no group, `epochs` is 0, or `lr_mult` is not a finite number above 0.
    pub fn fine_tune(groups: &[&str], epochs: usize, lr_mult: f64) -> Result<Self> {
        let Some((head, below)) = groups.split_last() else {
            return Err(Error::count("groups", 0_usize, "at least 1"));
        };
        at_least_1("epochs", epochs)?;
        check_positive("lr_mult", lr_mult)?;
        let last = below.len();
        let rate = |(group, pattern): (usize, &&str)| {
            let above = last.saturating_sub(group) as f64 / last.max(1) as f64;
            (pattern.to_string(), 0.5 / libm::pow(lr_mult, above))
        };
        let rates = groups.iter().enumerate().map(rate).collect();
        let first = Phase {
            train: vec![head.to_string()],
            until: Some(When::Epoch(epochs)),
            ..Phase::default()
        };
        Ok(Self { phases: vec![first, Phase { rates, ..Phase::default() }] })
    }

    fn ends(&self) -> Vec<When> {
        self.phases.iter().filter_map(|phase| phase.until).collect()
    }
}

impl Phase {
    fn check(&self) -> Result<()> {
        for (pattern, &rate) in &self.rates {
            matching(pattern, [])?;
            check_number("rates", rate, 0.0.., "a finite number of at least 0")?;
        }
        self.train
            .iter()
            .chain(&self.freeze)
            .try_for_each(|pattern| matching(pattern, []).map(drop))
    }

    /// The base plan as this phase refines it. `name` is what it is called in reasons.
    fn refine(&self, base: &FreezePlan, name: &str) -> Result<Decision> {
        let leaves = |pattern: &str| -> Result<Vec<usize>> {
            let found = Blocks::of(base.paths(), &By::Patterns(vec![pattern.into()]))?;
            Ok(found.leaves(0).to_vec())
        };
        let mut trains = vec![self.train.is_empty(); base.len()];
        for (patterns, train) in [(&self.train, true), (&self.freeze, false)] {
            for pattern in patterns {
                leaves(pattern)?.into_iter().for_each(|leaf| trains[leaf] = train);
            }
        }
        let mut rates = vec![1.0; base.len()];
        for (pattern, rate) in &self.rates {
            leaves(pattern)?.into_iter().for_each(|leaf| rates[leaf] *= rate);
        }
        let mut decision = Decision::new(base.clone());
        for (leaf, (trains, rate)) in trains.into_iter().zip(rates).enumerate() {
            decision.plan.scale(leaf, rate)?;
            match trains {
                true => {
                    explain(&mut decision, leaf, &format!("trains at {rate} of its rate in {name}"))
                }
                false => freeze(&mut decision, leaf, &format!("froze: {name} does not train it"))?,
            }
        }
        Ok(decision)
    }
}

impl Policy for Phases {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        when::is_due(self.settings.ends(), at, moment)
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let (phases, ends) = (&self.settings.phases, self.settings.ends());
        when::check_run(PhasesSettings::NAME, &ends, at)?;
        let mut now = 0;
        for end in ends {
            now += usize::from(end.is_reached(at)?);
        }
        let mut decision = Decision::new(base.clone());
        for (n, phase) in phases.iter().enumerate() {
            let refined = phase.refine(base, &format!("phase {} of {}", n + 1, phases.len()))?;
            decision = if n == now { refined } else { decision };
        }
        Ok(decision.metric("phases/phase", now as f64 + 1.0))
    }

    fn describe(&self) -> String {
        described(&self.settings)
    }
}
