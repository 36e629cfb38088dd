//! PipeTransformer's schedule: the same share of what is left in each round.

use serde::{Deserialize, Serialize};

use super::fraction::Fraction;
use super::grouped::{Grouped, freeze};
use super::rhythm::{check_rounds, is_due, over, rounds};
use crate::error::{Result, at_least_1, check_unit};
use crate::plan::FreezePlan;
use crate::policy::settings::described;
use crate::policy::{Acts, By, Decision, Elapsed, Family, Moment, Policy, Settings};

/// Freezes the same share of the blocks that are left in each round, from the front.
///
/// Of `n` blocks, after `r` rounds:
///
/// ```text
/// frozen = ceil(n * (1 - (1 - alpha)^r))
/// ```
///
/// A round is an epoch, or a number of steps. The last block, the head, is not counted and always
/// trains; where more belongs to the head, such as a norm in front of it, `keep` says so.
///
/// ```
/// use freeze_core::policy::{GeometricSettings, Settings};
///
/// let policy = GeometricSettings { alpha: 0.4, ..Default::default() }.policy()?;
/// assert_eq!([0, 1, 2, 3].map(|round| policy.frozen(round, 35)), [0, 14, 23, 28]);
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Source: He et al., "PipeTransformer", ICML 2021 (arXiv:2102.03161), and the code at
/// Distributed-AI/PipeTransformer, which by default goes by this schedule alone and not by gradients.
/// `alpha` is 1/3 there on CIFAR-100 and SQuAD, 0.07 on ImageNet. Their claim: 2.1 to 2.8 times faster on
/// 16 GPUs, accuracy kept, most of it by using the GPUs that become free; freezing alone was not faster
/// there. On CIFAR-100 1/5 lost nothing, 1/2 lost 1.4 points.
///
/// Where we depart from that code: it adds up powers in f64, which freezes one block too many where
/// the count is whole (27 blocks, 1/3, after 3 rounds: 20 for 19), and more than there are after some 30
/// rounds at `alpha` of 0.7 and more. Here `alpha` means the simple fraction it is written for,
/// and the count is exact while its terms have up to 128 bits; beyond, it is never a whole number before
/// it is rounded. `alpha = 1` divides by zero there and here freezes all counted blocks in the first
/// round.
#[derive(Clone, Debug)]
pub struct Geometric {
    settings: GeometricSettings,
    blocks: Grouped,
}

/// The settings of [`Geometric`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GeometricSettings {
    /// The share of what is left that freezes in a round, from 0 to 1; 1/3.
    pub alpha: f64,
    /// How many blocks at the end are not counted, at least 1; 1.
    pub keep: usize,
    /// What a round is: an epoch, or a number of steps.
    pub acts: Acts,
    /// What freezes together; each numbered block.
    pub by: By,
}

impl Default for GeometricSettings {
    fn default() -> Self {
        Self { alpha: 1.0 / 3.0, keep: 1, acts: Acts::AT_EPOCHS, by: By::Block }
    }
}

impl Settings for GeometricSettings {
    const NAME: &'static str = "geometric";
    const FAMILY: Family = Family::Time;
    const ABOUT: &'static str = "the same share of what is left in each round (PipeTransformer)";
    type Policy = Geometric;

    fn policy(self) -> Result<Geometric> {
        check_rounds(self.acts)?;
        self.by.check(Self::NAME)?;
        at_least_1("keep", self.keep)?;
        check_unit("alpha", self.alpha)?;
        Ok(Geometric { blocks: Grouped::new(self.by.clone()), settings: self })
    }
}

impl Geometric {
    /// How many of `blocks` blocks are frozen after `round` rounds.
    pub fn frozen(&self, round: usize, blocks: usize) -> usize {
        let alpha = self.settings.alpha;
        let exact = Fraction::meant(alpha).and_then(|alpha| left(alpha, round, blocks));
        let rounded = || (blocks as f64 * libm::pow(1.0 - alpha, round as f64)) as usize;
        blocks.saturating_sub(exact.unwrap_or_else(rounded))
    }
}

/// The whole part of `blocks * (1 - alpha)^round`; `None` if its terms are too large.
fn left(alpha: Fraction, round: usize, blocks: usize) -> Option<usize> {
    let power = |base: u128| base.checked_pow(u32::try_from(round).ok()?);
    let num = power(alpha.den.checked_sub(alpha.num)?)?.checked_mul(blocks as u128)?;
    usize::try_from(num / power(alpha.den)?).ok()
}

impl Policy for Geometric {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        is_due(self.settings.acts, at, moment)
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let round = rounds(self.settings.acts, at)?;
        let blocks = self.blocks.of(base)?;
        let counted = blocks.len().saturating_sub(self.settings.keep);
        let frozen = self.frozen(round, counted);
        let mut decision = Decision::new(base.clone());
        let why = format!("froze: {}, {frozen} of {counted} blocks are due", over(at));
        for leaf in (0..frozen).flat_map(|block| blocks.leaves(block)) {
            freeze(&mut decision, *leaf, &why)?;
        }
        Ok(decision.metric("geometric/blocks_frozen", frozen as f64))
    }

    fn describe(&self) -> String {
        described(&self.settings)
    }
}
