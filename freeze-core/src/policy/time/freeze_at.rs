//! Freezes the front up to given depths at given points.

use serde::{Deserialize, Serialize};

use super::fraction::part;
use super::grouped::freeze;
use super::when::{self, When};
use crate::error::{Error, Result, check_unit};
use crate::plan::{FreezePlan, matching};
use crate::policy::settings::described;
use crate::policy::{Blocks, By, Decision, Elapsed, Family, Moment, Policy, Settings};

/// Freezes ever more leaves from the front, each time at a point of the run that is given.
///
/// ```
/// use freeze_core::policy::{FreezeAtSettings, Front, Milestone, Settings, When};
///
/// let milestones = vec![
///     Milestone { at: When::Epoch(1), freeze: Front::UpTo("embed".into()) },
///     Milestone { at: When::Share(0.5), freeze: Front::Leaves(6) },
/// ];
/// let policy = FreezeAtSettings { milestones }.policy()?;
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Source: "freeze training" of Raghu et al., "SVCCA", NeurIPS 2017 (arXiv:1706.05806): leaves become what
/// they will be from the front to the back, so freeze them in that order at fixed points. Their claim:
/// less computation, and less overfitting. Which points suit a model has to be known. The default, half
/// of the leaves at half of the run and three quarters at three quarters, is ours.
#[derive(Clone, Debug)]
pub struct FreezeAt {
    settings: FreezeAtSettings,
}

/// The settings of [`FreezeAt`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FreezeAtSettings {
    /// What freezes when, in the order of time; each freezes at least as much as the one before.
    pub milestones: Vec<Milestone>,
}

/// One point at which [`FreezeAt`] freezes more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Milestone {
    /// When.
    pub at: When,
    /// What is frozen from then on.
    pub freeze: Front,
}

/// The leaves at the front of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Front {
    /// So many.
    Leaves(usize),
    /// A share of all but the last leaf, in [0, 1].
    Share(f64),
    /// All up to the last one that the pattern matches; see
    /// [`FreezePlan::set_matching`](crate::FreezePlan::set_matching).
    UpTo(String),
}

impl Default for FreezeAtSettings {
    fn default() -> Self {
        let at = |share| Milestone { at: When::Share(share), freeze: Front::Share(share) };
        Self { milestones: vec![at(0.5), at(0.75)] }
    }
}

impl Settings for FreezeAtSettings {
    const NAME: &'static str = "freeze-at";
    const FAMILY: Family = Family::Time;
    const ABOUT: &'static str = "ever more from the front, at points that are given (SVCCA)";
    type Policy = FreezeAt;

    fn policy(self) -> Result<FreezeAt> {
        if self.milestones.is_empty() {
            return Err(Error::policy(Self::NAME, "it has no milestone; give at least one"));
        }
        when::check(Self::NAME, &self.points())?;
        for milestone in &self.milestones {
            milestone.freeze.check()?;
        }
        Ok(FreezeAt { settings: self })
    }
}

impl FreezeAtSettings {
    fn points(&self) -> Vec<When> {
        self.milestones.iter().map(|milestone| milestone.at).collect()
    }
}

impl Front {
    fn check(&self) -> Result<()> {
        match self {
            Self::Leaves(_) => Ok(()),
            Self::Share(share) => check_unit("share", *share),
            Self::UpTo(pattern) => matching(pattern, []).map(drop),
        }
    }

    /// The number of leaves.
    fn depth(&self, base: &FreezePlan) -> Result<usize> {
        match self {
            Self::Leaves(asked) if *asked > base.len() => {
                Err(Error::Depth { asked: *asked, leaves: base.len() })
            }
            Self::Leaves(leaves) => Ok(*leaves),
            Self::Share(share) => Ok(part(base.len().saturating_sub(1), *share)),
            Self::UpTo(pattern) => {
                let matched = Blocks::of(base.paths(), &By::Patterns(vec![pattern.clone()]))?;
                Ok(matched.leaves_before(matched.len()))
            }
        }
    }
}

impl FreezeAt {
    /// The depth at each milestone, each at least the one before.
    fn depths(&self, base: &FreezePlan) -> Result<Vec<usize>> {
        let depths = self.settings.milestones.iter().map(|milestone| milestone.freeze.depth(base));
        let depths = depths.collect::<Result<Vec<usize>>>()?;
        if let Some((n, pair)) = depths.windows(2).enumerate().find(|(_, pair)| pair[0] > pair[1]) {
            let (n, less, more) = (n + 2, pair[1], pair[0]);
            let why = format!(
                "milestone {n} freezes {less} leaves and the one before it {more}; what is frozen \
                 stays so"
            );
            return Err(Error::policy(FreezeAtSettings::NAME, why));
        }
        Ok(depths)
    }
}

impl Policy for FreezeAt {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        when::is_due(self.settings.points(), at, moment)
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        when::check_run(FreezeAtSettings::NAME, &self.settings.points(), at)?;
        let mut last = None;
        for (milestone, depth) in self.settings.milestones.iter().zip(self.depths(base)?) {
            last = if milestone.at.is_reached(at)? { Some((milestone.at, depth)) } else { last };
        }
        let mut decision = Decision::new(base.clone());
        if let Some((point, depth)) = last {
            let (point, n) = (point.words(), base.len());
            let why = format!("froze: the run is past {point}, {depth} of {n} leaves are due");
            (0..depth).try_for_each(|leaf| freeze(&mut decision, leaf, &why))?;
        }
        Ok(decision)
    }

    fn describe(&self) -> String {
        described(&self.settings)
    }
}
