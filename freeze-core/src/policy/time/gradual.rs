//! ULMFiT's gradual unfreezing: the last block first, then one more in each round.

use serde::{Deserialize, Serialize};

use super::grouped::{Grouped, explain, freeze};
use super::rhythm::{check_rounds, is_due, is_round_start, over, rounds};
use super::triangle::{Triangle, slanted_triangle};
use crate::error::{Result, at_least_1, check_positive};
use crate::plan::FreezePlan;
use crate::policy::settings::described;
use crate::policy::{Acts, By, Decision, Elapsed, Family, Moment, Policy, Settings};

/// Trains the last block first and thaws one more from the top in each round, each at a smaller share of
/// the learning rate than the one above it.
///
/// In round `r`, from 0, the last `groups * (r + 1)` of `n` blocks train, block `b` at the share
///
/// ```text
/// rate = factor^-(n - 1 - b) * triangle
/// ```
///
/// of the learning rate, which should be constant if there is a
/// [triangle](super::slanted_triangle). A round is an epoch, or a number of steps; the
/// triangle has a new rate for each step. Leaves outside every block train from the start.
///
/// ```
/// use freeze_core::policy::{GradualUnfreezingSettings, Settings};
///
/// let policy = GradualUnfreezingSettings { triangle: None, ..Default::default() }.policy()?;
/// assert_eq!([0, 1, 5].map(|round| policy.trained(round, 4)), [1, 2, 4]);
/// assert_eq!(policy.rate(1, 4), 1.0 / (2.6 * 2.6));
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Source: Howard and Ruder, "ULMFiT", 2018 (arXiv:1801.06146): `factor` 2.6, one block more for each
/// epoch, `cut_frac` 0.1, `ratio` 32, one triangle over the run. Their claim: errors 18 to 24 % lower than
/// others' on six text classification tasks, with a pretrained language model. A run with fewer rounds
/// than blocks never thaws the first ones, and by leaf the rates of a deep model's first leaves are as
/// good as 0: choose fewer blocks by patterns.
///
/// Where we depart from codes of it: the authors' script thaws the last block, the last two, then all;
/// AllenNLP begins a new triangle in each epoch that thaws. We do what the paper says.
#[derive(Clone, Debug)]
pub struct GradualUnfreezing {
    settings: GradualUnfreezingSettings,
    blocks: Grouped,
}

/// The settings of [`GradualUnfreezing`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GradualUnfreezingSettings {
    /// How many blocks train in the first round, and thaw in each round, at least 1; 1.
    pub groups: usize,
    /// The rate of a block over that of the one below it: a finite number above 0; 2.6. With 1 all
    /// train at the same rate.
    pub factor: f64,
    /// How the rate of all of them rises and falls; `None`: it does not.
    pub triangle: Option<Triangle>,
    /// What a round is: an epoch, or a number of steps.
    pub acts: Acts,
    /// What thaws together; each numbered block.
    pub by: By,
}

impl Default for GradualUnfreezingSettings {
    fn default() -> Self {
        let triangle = Some(Triangle::default());
        Self { groups: 1, factor: 2.6, triangle, acts: Acts::AT_EPOCHS, by: By::Block }
    }
}

impl Settings for GradualUnfreezingSettings {
    const NAME: &'static str = "gradual-unfreezing";
    const FAMILY: Family = Family::Time;
    const ABOUT: &'static str = "the last block first, one more in each round (ULMFiT)";
    type Policy = GradualUnfreezing;

    fn policy(self) -> Result<GradualUnfreezing> {
        at_least_1("groups", self.groups)?;
        check_rounds(self.acts)?;
        self.by.check(Self::NAME)?;
        check_positive("factor", self.factor)?;
        self.triangle.map_or(Ok(()), Triangle::check)?;
        Ok(GradualUnfreezing { blocks: Grouped::new(self.by.clone()), settings: self })
    }
}

impl GradualUnfreezing {
    /// How many of `blocks` blocks, the last ones, train in round `round`, from 0.
    pub fn trained(&self, round: usize, blocks: usize) -> usize {
        round.saturating_add(1).saturating_mul(self.settings.groups).min(blocks)
    }

    /// The share of the learning rate of block `block` of `blocks`, without the triangle.
    pub fn rate(&self, block: usize, blocks: usize) -> f64 {
        let above = blocks.saturating_sub(block.saturating_add(1));
        1.0 / libm::pow(self.settings.factor, above as f64)
    }

    /// The triangle's share at this point; 1 without one.
    fn triangle(&self, at: Elapsed) -> Result<f64> {
        let Some(triangle) = self.settings.triangle else { return Ok(1.0) };
        at.check_steps()?;
        slanted_triangle(triangle, at.step, at.steps)
    }
}

impl Policy for GradualUnfreezing {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        let always = moment == Moment::Start || self.settings.triangle.is_some();
        always || is_due(self.settings.acts, at, moment)
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let (round, triangle) = (rounds(self.settings.acts, at)?, self.triangle(at)?);
        let blocks = self.blocks.of(base)?;
        let (n, trained) = (blocks.len(), self.trained(round, blocks.len()));
        let due = format!("{}, the last {trained} of {n} blocks train", over(at));
        let (froze, thawed) = (format!("froze: {due}"), format!("thawed: {due}"));
        // What this round thaws. Later in the round the triangle alone changes, which needs no reason.
        let thaws = match is_round_start(self.settings.acts, at) {
            true => n - trained..n - round.saturating_mul(self.settings.groups).min(n),
            false => n..n,
        };
        let mut decision = Decision::new(base.clone());
        for block in 0..n {
            let rate = self.rate(block, n) * triangle;
            for &leaf in blocks.leaves(block) {
                if block < n - trained {
                    freeze(&mut decision, leaf, &froze)?;
                    continue;
                }
                decision.plan.scale(leaf, rate)?;
                if round > 0 && thaws.contains(&block) {
                    explain(&mut decision, leaf, &thawed);
                }
            }
        }
        let decision = decision.metric("gradual_unfreezing/blocks_trained", trained as f64);
        Ok(decision.metric("gradual_unfreezing/triangle", triangle))
    }

    fn describe(&self) -> String {
        described(&self.settings)
    }
}
