//! The settings of `Weighted`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::turn_state::TurnState;
use crate::error::{Result, at_least_1, check_number, check_positive, check_unit};
use crate::policy::By;

/// What the score of a block is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// The L2 norm of its gradients, smoothed over the steps in which it trains (GRASS,
    /// AdaGradSelect).
    #[default]
    Gradient,
    /// The L2 norm of its weights at the end of its last turn.
    Weight,
    /// These numbers of at least 0, by the names of blocks, such as the outlier scores of OwLore or
    /// the learned importance of IST.
    Given(BTreeMap<String, f64>),
}

/// How blocks are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// By [`draw_chances`](super::draw_chances) from scores.
    #[default]
    Proportional,
    /// With the chance `epsilon` any blocks, otherwise those with the largest scores.
    EpsilonGreedy,
    /// As `EpsilonGreedy` in the first epoch; then by chances of a Dirichlet distribution whose
    /// concentrations are 1 and how often each block was drawn (AdaGradSelect).
    Dirichlet,
}

/// The settings of [`Weighted`](super::Weighted).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct WeightedSettings {
    /// The number of blocks that train at a time (γ), at least 1.
    pub blocks: usize,
    /// The length of a turn in optimizer steps (K), at least 1.
    pub every: usize,
    /// What the score of a block is.
    pub score: Score,
    /// How blocks are drawn.
    pub sampling: Sampling,
    /// The share, in [0, 1), of the smoothed gradient norm that a step leaves; 0 does not smooth.
    pub smoothing: f64,
    /// The share of all chances, in [0, 1], that is given to all blocks equally.
    pub floor: f64,
    /// Above 0: towards 0 only the largest score counts, towards infinity none does.
    pub temperature: f64,
    /// The chance, in [0, 1], of a draw that does not look at scores; not with proportional sampling.
    pub epsilon: f64,
    /// What a block is.
    pub by: By,
    /// Whether leaves outside the body train.
    pub train_rest: bool,
    /// What becomes of optimizer state at the end of a turn.
    pub state: TurnState,
    /// The seed of the draws.
    pub seed: u64,
}

impl Default for WeightedSettings {
    fn default() -> Self {
        Self {
            blocks: 2,
            every: 20,
            score: Score::default(),
            sampling: Sampling::default(),
            smoothing: 0.9,
            floor: 0.1,
            temperature: 1.0,
            epsilon: 0.1,
            by: By::default(),
            train_rest: true,
            state: TurnState::Offload,
            seed: 0,
        }
    }
}

impl WeightedSettings {
    /// An error that names the first setting outside its range.
    pub(super) fn check(&self, policy: &str) -> Result<()> {
        self.by.check(policy)?;
        at_least_1("blocks", self.blocks)?;
        let below_1 = "a number of at least 0 and less than 1";
        check_number("smoothing", self.smoothing, 0.0..1.0, below_1)?;
        check_unit("floor", self.floor)?;
        check_positive("temperature", self.temperature)?;
        check_unit("epsilon", self.epsilon)?;
        let Score::Given(given) = &self.score else { return Ok(()) };
        let expected = "a finite number of at least 0";
        given.values().try_for_each(|&score| check_number("score", score, 0.0.., expected))
    }
}
