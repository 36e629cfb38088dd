//! BAdam: one block at a time, each from new optimizer state.

use serde::{Deserialize, Serialize};

use super::described::settings_and_turns;
use super::draws::Draws;
use super::members::{Members, Rest, Who};
use super::turns::Turns;
use crate::error::{Error, Result};
use crate::plan::{FreezePlan, StatePolicy};
use crate::policy::{By, Decision, Elapsed, Family, Policy, Settings};

/// Trains one block at a time for a number of steps, each time from new optimizer state.
///
/// With a turn of K optimizer steps and D blocks, before the step that follows `s` completed ones:
///
/// ```text
/// turn  = floor(s / K)
/// block = (start + turn) mod D                 ascending,  start = 0 unless it is given
///       = (start - turn) mod D                 descending, start = D - 1 unless it is given
///       = start                                fixed
///       = permutation(floor(turn / D))[turn mod D]   random: a new permutation each round
/// ```
///
/// At the beginning of every turn all optimizer state is freed, also that of leaves that train in every
/// turn, and also where the block stays the same. So Adam's state is that of one block. Source: Luo, Yu,
/// Li, "BAdam", NeurIPS 2024, arXiv:2404.02827, and Ledzy/BAdam, `block_optim.py`. The defaults are those
/// of its class; its readme recommends random order and K = min(max(n / (B D), 50), 100) for n samples in
/// batches of B. The authors claim 23.5 GB for Llama 3 8B where Adam needs more than 144.
///
/// # Departures from the official code
///
/// - Every block has exactly K steps; there, the first has K - 1.
/// - `fixed` without `start` is refused by name; there, it ends with an `AttributeError`.
/// - A run resumes within its turn; there, it starts again with the first block, since order and position
///   are not saved. A permutation depends on `seed` and its round alone.
/// - Parameters without weight decay stay so; there, the defaults overwrite it.
///
/// # Limits
///
/// What is outside the body, such as embeddings and the head, does not train. A new head should:
/// `also_trains` names what trains in every turn, `include_rest` gives everything else turns of its own.
/// Blocks that the base plan freezes have no turn. If the run is shorter than a round, some blocks
/// never train; the metric `badam/rounds` is the number of rounds in the run then, below 1.
///
/// ```
/// use freeze_core::policy::{BAdamSettings, Settings};
///
/// let policy = BAdamSettings { switch_every: 5, ..Default::default() }.policy()?;
/// let blocks: Vec<_> = (0..11).map(|step| policy.block(step, 4)).collect::<Result<_, _>>()?;
/// let expected = [3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 1].map(Some);
/// assert_eq!(blocks, expected);
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BAdam {
    settings: BAdamSettings,
    turns: Turns,
}

/// In which order the blocks have their turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BAdamOrder {
    /// A new permutation in each round.
    Random,
    /// From the front.
    Ascending,
    /// From the back.
    #[default]
    Descending,
    /// The block `start` has all turns.
    Fixed,
}

/// The settings of [`BAdam`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BAdamSettings {
    /// The length of a turn in optimizer steps (K), at least 1.
    pub switch_every: usize,
    /// In which order the blocks have their turns.
    pub order: BAdamOrder,
    /// The block of the first turn, counted from the front; not with random order.
    pub start: Option<usize>,
    /// What a block is.
    pub by: By,
    /// Patterns of leaves that train in every turn, such as a new head.
    pub also_trains: Vec<String>,
    /// Whether what is outside the body, such as embeddings and the head, has turns too.
    pub include_rest: bool,
    /// The seed of the permutations.
    pub seed: u64,
}

impl Default for BAdamSettings {
    fn default() -> Self {
        Self {
            switch_every: 50,
            order: BAdamOrder::default(),
            start: None,
            by: By::default(),
            also_trains: Vec::new(),
            include_rest: false,
            seed: 0,
        }
    }
}

impl Settings for BAdamSettings {
    const NAME: &'static str = "badam";
    const FAMILY: Family = Family::Rotating;
    const ABOUT: &'static str = "one block at a time, each from new optimizer state (BAdam)";
    type Policy = BAdam;

    fn policy(self) -> Result<BAdam> {
        self.by.check(Self::NAME)?;
        let why = match (self.order, self.start) {
            (BAdamOrder::Fixed, None) => "the order `fixed` needs `start`, the block that trains",
            (BAdamOrder::Random, Some(_)) => "`start` has no meaning where the order is `random`",
            _ => {
                let turns = Turns::new("switch_every", self.switch_every)?;
                return Ok(BAdam { settings: self, turns });
            }
        };
        Err(Error::policy(Self::NAME, why))
    }
}

impl BAdam {
    /// Which of `blocks` blocks trains in the step that follows `step` completed ones; `None` if there
    /// is no block.
    ///
    /// # Errors
    ///
    /// There is no block `start`.
    pub fn block(&self, step: usize, blocks: usize) -> Result<Option<usize>> {
        self.block_in(step / self.settings.switch_every, blocks)
    }

    fn block_in(&self, turn: usize, blocks: usize) -> Result<Option<usize>> {
        let BAdamSettings { order, start, seed, .. } = self.settings;
        if blocks == 0 {
            return Ok(None);
        }
        if let Some(start) = start.filter(|start| *start >= blocks) {
            let why =
                format!("`start` is {start}, expected less than {blocks}, the blocks there are");
            return Err(Error::policy(BAdamSettings::NAME, why));
        }
        let on = turn % blocks;
        Ok(match order {
            BAdamOrder::Ascending => Some((start.unwrap_or(0) + on) % blocks),
            BAdamOrder::Descending => Some((start.unwrap_or(blocks - 1) + blocks - on) % blocks),
            BAdamOrder::Fixed => start,
            BAdamOrder::Random => Draws::new(seed, turn / blocks).shuffled(blocks).get(on).copied(),
        })
    }
}

impl Policy for BAdam {
    settings_and_turns!();

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let turn = self.turns.at(at)?;
        let BAdamSettings { by, also_trains, include_rest, .. } = &self.settings;
        let who = if *include_rest { Who::All } else { Who::Body };
        let members = Members::of(base, by, who, also_trains)?;
        let block = self.block_in(turn.index, members.len())?;
        let rounds = turn.all as f64 / members.len().max(1) as f64;
        let active: Vec<usize> = block.into_iter().collect();
        let mut decision = members
            .decision(base, &active, Rest::Freezes, turn, "")?
            .keeping(StatePolicy::Drop)
            .metric("badam/turn", turn.index as f64)
            .metric("badam/rounds", rounds);
        if let Some(block) = block {
            decision = decision.metric("badam/block", block as f64);
        }
        if turn.begins {
            let trained = Members::trained(&decision.plan);
            decision = decision.restarting(trained);
        }
        self.turns.remember(turn);
        Ok(decision)
    }
}
