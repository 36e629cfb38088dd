//! HiFT: every group of blocks in turn, with its optimizer state parked meanwhile.

use serde::{Deserialize, Serialize};

use super::described::settings_and_turns;
use super::draws::Draws;
use super::members::{Members, Rest, Who};
use super::turns::Turns;
use crate::error::{Error, Result, at_least_1};
use crate::plan::{FreezePlan, StatePolicy};
use crate::policy::{By, Decision, Elapsed, Family, Policy, Settings};

/// Trains every group of blocks in turn, embeddings and the head included, a step each, and keeps the
/// optimizer state of those that rest.
///
/// With m blocks to a group, n blocks, a turn of K optimizer steps (1 in the paper) and
/// `g = ceil(n / m)` groups, before the step that follows `s` completed ones:
///
/// ```text
/// cycle  = floor(s / (K g))
/// at     = floor(s / K) mod g
/// group  = blocks at m .. at m + m - 1     down2up: counted from the front, up2down: from the back
///        = those of group permutation(cycle)[at], from the front   random: a new permutation each cycle
/// ```
///
/// Source: Liu et al., "HiFT", EMNLP 2024, arXiv:2401.15207, and misonsky/HiFT, `hift/trainer.py`,
/// whose defaults these are. The authors tune a model of 7B within 24 GB, since optimizer state in use is
/// that of one group.
///
/// # Departures from the official code
///
/// - Where m does not divide n, groups are fixed and the last is smaller. There, a group takes the last
///   blocks and the first together, and cycles drift.
/// - More blocks to a group than there are: all train in every step; there, it ends with a `KeyError`.
/// - It moves on after an optimizer step; there, after every batch of an accumulated one.
/// - The learning rate: there, its schedule advances once per cycle, so that all groups see one rate.
///   Here it is a function of the run's progress, as for any policy, so rates within a cycle differ by
///   what the schedule does in `K g` steps. Where that matters, hold it over a cycle: with
///   `cycles = steps / (K g)`, train at `|t| rate((t * cycles).floor() / cycles)`. The metric
///   `hift/cycle` counts the official schedule's steps.
///
/// # Limits
///
/// A group's state is moved at each step, which takes time where a device has memory of its own;
/// [`StatePolicy::Keep`] leaves it there. Where `by` has patterns, leaves that none matches never train.
/// Blocks that the base plan freezes have no turn. If the run is shorter than a cycle, some blocks never
/// train; the metric `hift/cycles` is the number of cycles in the run then, below 1.
///
/// ```
/// use freeze_core::policy::{HiFtSettings, Settings};
///
/// let policy = HiFtSettings { blocks: 2, ..Default::default() }.policy()?;
/// let groups: Vec<Vec<usize>> = (0..4).map(|step| policy.group(step, 5)).collect();
/// assert_eq!(groups, [vec![0, 1], vec![2, 3], vec![4], vec![0, 1]]);
/// assert_eq!((policy.cycle(2, 5), policy.cycle(3, 5)), (0, 1));
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct HiFt {
    settings: HiFtSettings,
    turns: Turns,
}

/// In which order the groups have their turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HiFtOrder {
    /// From the front of the model to its head.
    #[default]
    Down2Up,
    /// From the head to the front.
    Up2Down,
    /// A new permutation of the groups in each cycle.
    Random,
}

/// The settings of [`HiFt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HiFtSettings {
    /// The number of blocks in a group (m), at least 1.
    pub blocks: usize,
    /// The length of a turn in optimizer steps (K), at least 1.
    pub every: usize,
    /// In which order the groups have their turns.
    pub order: HiFtOrder,
    /// What a block is.
    pub by: By,
    /// What becomes of the optimizer state of groups that rest: kept, or moved to host memory.
    pub state: StatePolicy,
    /// The seed of the permutations.
    pub seed: u64,
}

impl Default for HiFtSettings {
    fn default() -> Self {
        let (order, by, state) = (HiFtOrder::default(), By::default(), StatePolicy::Offload);
        Self { blocks: 1, every: 1, order, by, state, seed: 0 }
    }
}

impl Settings for HiFtSettings {
    const NAME: &'static str = "hift";
    const FAMILY: Family = Family::Rotating;
    const ABOUT: &'static str = "every group of blocks in turn, with its state parked (HiFT)";
    type Policy = HiFt;

    fn policy(self) -> Result<HiFt> {
        self.by.check(Self::NAME)?;
        at_least_1("blocks", self.blocks)?;
        if self.state == StatePolicy::Drop {
            let why = "`state` is `drop`, expected `keep` or `offload`: a group that loses its state \
                       in every turn never has any";
            return Err(Error::policy(Self::NAME, why));
        }
        let turns = Turns::new("every", self.every)?;
        Ok(HiFt { settings: self, turns })
    }
}

impl HiFt {
    /// Which of `blocks` blocks train in the step that follows `step` completed ones, ascending.
    pub fn group(&self, step: usize, blocks: usize) -> Vec<usize> {
        self.group_in(step / self.settings.every, blocks)
    }

    /// How often all of `blocks` blocks have had their turn after `step` completed steps.
    pub fn cycle(&self, step: usize, blocks: usize) -> usize {
        step / self.settings.every / self.groups(blocks).max(1)
    }

    fn groups(&self, blocks: usize) -> usize {
        blocks.div_ceil(self.settings.blocks)
    }

    fn group_in(&self, turn: usize, blocks: usize) -> Vec<usize> {
        let HiFtSettings { blocks: size, order, seed, .. } = self.settings;
        let groups = self.groups(blocks).max(1);
        let (cycle, at) = (turn / groups, turn % groups);
        let at = match order {
            HiFtOrder::Random => Draws::new(seed, cycle).shuffled(groups).get(at).copied(),
            HiFtOrder::Down2Up | HiFtOrder::Up2Down => Some(at),
        };
        let begin = at.unwrap_or(0).saturating_mul(size).min(blocks);
        let end = begin.saturating_add(size).min(blocks);
        match order {
            HiFtOrder::Up2Down => (blocks - end..blocks - begin).collect(),
            HiFtOrder::Down2Up | HiFtOrder::Random => (begin..end).collect(),
        }
    }
}

impl Policy for HiFt {
    settings_and_turns!();

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let turn = self.turns.at(at)?;
        let members = Members::of(base, &self.settings.by, Who::All, &[])?;
        let group = self.group_in(turn.index, members.len());
        let groups = self.groups(members.len()).max(1);
        let decision = members
            .decision(base, &group, Rest::Freezes, turn, "")?
            .keeping(self.settings.state)
            .metric("hift/cycle", (turn.index / groups) as f64)
            .metric("hift/cycles", turn.all as f64 / groups as f64)
            .metric("hift/blocks", group.len() as f64);
        self.turns.remember(turn);
        Ok(decision)
    }
}
