//! LISA: a few blocks, drawn anew every so many steps.

use serde::{Deserialize, Serialize};

use super::described::settings_and_turns;
use super::draws::Draws;
use super::members::{Members, Rest, Who};
use super::turn_state::TurnState;
use super::turns::Turns;
use crate::error::{Error, Result};
use crate::plan::FreezePlan;
use crate::policy::{By, Decision, Elapsed, Family, Policy, Settings};

/// Trains a few blocks of the body, drawn anew every so many steps, and what is outside the body.
///
/// With γ blocks, a turn of K optimizer steps and N blocks in the body, before the step that follows
/// `s` completed ones:
///
/// ```text
/// turn   = floor(s / K)
/// blocks = min(γ, N) different ones of N, each set as likely as any other, drawn once per turn
/// ```
///
/// A draw depends on `seed`, the turn and N alone, so that a run resumes with the same ones. Source:
/// Pan et al., "LISA", NeurIPS 2024, arXiv:2403.17919, and OptimalScale/LMFlow,
/// `lisa_trainer.py`; the defaults are LMFlow's. The authors claim that it trains at the memory of
/// LoRA and better.
///
/// # Departures from the official code
///
/// - Optimizer state: LMFlow keeps that of blocks that rest. The paper's runs ended and began again
///   at every turn, so that nothing was kept at all; this is [`TurnState::ResetAll`], the default.
/// - LMFlow's optimizer has only the variables that train when it is made, so that blocks drawn later
///   never train. Here a plan reaches every optimizer.
/// - LMFlow draws from numpy's global generator, which is not saved.
/// - More blocks than there are: LMFlow ends with a `ValueError`. Here all train, and the metric
///   `lisa/blocks` says how many.
///
/// # Limits
///
/// What is outside the body, such as embeddings and the head, trains in every turn. In large language
/// models it is most of what trains; `train_rest: false` freezes it. Blocks that the base plan freezes
/// are not drawn. If a turn is longer than the run, the first draw is the only one; the metric
/// `lisa/turns` says how many begin in the run.
///
/// ```
/// use freeze_core::policy::{LisaSettings, Settings};
///
/// let policy = LisaSettings { blocks: 1, ..Default::default() }.policy()?;
/// // The same for 20 steps, then another draw.
/// assert_eq!(policy.drawn(0, 12), policy.drawn(19, 12));
/// assert_eq!(policy.drawn(20, 12).len(), 1);
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lisa {
    settings: LisaSettings,
    turns: Turns,
}

/// The settings of [`Lisa`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LisaSettings {
    /// The number of blocks that train at a time (γ).
    pub blocks: usize,
    /// The length of a turn in optimizer steps (K), at least 1.
    pub every: usize,
    /// What a block is.
    pub by: By,
    /// Whether leaves outside the body train.
    pub train_rest: bool,
    /// What becomes of optimizer state at the end of a turn.
    pub state: TurnState,
    /// The seed of the draws.
    pub seed: u64,
}

impl Default for LisaSettings {
    fn default() -> Self {
        let (by, state) = (By::default(), TurnState::default());
        Self { blocks: 2, every: 20, by, train_rest: true, state, seed: 0 }
    }
}

impl Settings for LisaSettings {
    const NAME: &'static str = "lisa";
    const FAMILY: Family = Family::Rotating;
    const ABOUT: &'static str = "a few blocks drawn anew every so many steps, and the rest (LISA)";
    type Policy = Lisa;

    fn policy(self) -> Result<Lisa> {
        self.by.check(Self::NAME)?;
        if self.blocks == 0 && !self.train_rest {
            return Err(Error::count("blocks", 0usize, "at least 1 where `train-rest` is false"));
        }
        let turns = Turns::new("every", self.every)?;
        Ok(Lisa { settings: self, turns })
    }
}

impl Lisa {
    /// Which of `blocks` blocks train in the step that follows `step` completed ones, ascending.
    pub fn drawn(&self, step: usize, blocks: usize) -> Vec<usize> {
        self.drawn_in(step / self.settings.every, blocks)
    }

    fn drawn_in(&self, turn: usize, blocks: usize) -> Vec<usize> {
        Draws::new(self.settings.seed, turn).distinct(blocks, self.settings.blocks)
    }
}

impl Policy for Lisa {
    settings_and_turns!();

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let (turn, LisaSettings { by, train_rest, state, .. }) =
            (self.turns.at(at)?, &self.settings);
        let members = Members::of(base, by, Who::Body, &[])?;
        let drawn = self.drawn_in(turn.index, members.len());
        let rest = Rest::trained_if(*train_rest);
        let mut decision = members
            .decision(base, &drawn, rest, turn, "")?
            .keeping(state.of_frozen())
            .metric("lisa/turn", turn.index as f64)
            .metric("lisa/turns", turn.all as f64)
            .metric("lisa/blocks", drawn.len() as f64);
        if turn.begins && *state == TurnState::ResetAll {
            let trained = Members::trained(&decision.plan);
            decision = decision.restarting(trained);
        }
        self.turns.remember(turn);
        Ok(decision)
    }
}
