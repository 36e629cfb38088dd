//! Blocks drawn by their scores: GRASS, OwLore, AdaGradSelect and the like.

use serde_json::{Value, json};

use super::chances::{dirichlet, draw_chances, drawn, largest_scores};
use super::described::described;
use super::draws::Draws;
use super::members::{Members, Rest, Who};
use super::norms::{NormOf, gradient_norm, norm_of_tensor, norms_of_leaves, weight_norm};
use super::turn_state::TurnState;
use super::turns::{Turn, Turns};
use super::weighted_memory::Memory;
use super::weighted_settings::{Sampling, Score, WeightedSettings};
use crate::error::{Error, Result, near};
use crate::plan::FreezePlan;
use crate::policy::{
    Blocks, Decision, Elapsed, Family, Moment, Needs, Observation, Policy, Settings,
};

/// Trains a few blocks of the body, drawn by their scores every so many steps, and what is outside the
/// body.
///
/// With γ blocks, a turn of K optimizer steps, and before each turn a score of every block:
///
/// ```text
/// smoothed norm of a leaf   = a * before + (1 - a) * norm     in each step in which it trains
/// score of a block          = L2 norm of those of its leaves
/// proportional              : p = draw_chances(scores), γ blocks drawn without replacement by p
/// epsilon-greedy            : the γ largest scores, or with the chance epsilon any γ blocks
/// dirichlet                 : epsilon-greedy in the first epoch, then by p ~ Dirichlet(1 + times drawn)
/// ```
///
/// See [`draw_chances`](super::draw_chances) for temperature and floor. A block that has no score yet counts as
/// the largest, so that all get one soon. Draws depend on `seed`, the turn and the scores.
///
/// | method | settings |
/// |---|---|
/// | GRASS (arXiv:2604.07808) | as they are |
/// | OwLore (arXiv:2405.18380; pixeli99/OwLore) | `score` given, `blocks` 5, `every` 50, `floor` 0 |
/// | AdaGradSelect (arXiv:2512.15764) | `sampling` dirichlet |
/// | IST (arXiv:2410.11772) | `score` given |
///
/// None of these codes could be compared with: OwLore reads its scores from a file made before and also
/// projects gradients to a low rank, which this does not; IST's is not published; GRASS and AdaGradSelect
/// are known from their abstracts. Smoothing, floor and epsilon are ours.
///
/// # Limits
///
/// What rests has no gradient, so its score is as old as its last turn; the floor sees to it that every
/// block is drawn again. A run of fewer turns than N / γ does not see all N blocks; the metric
/// `weighted/turns` says how many turns begin in the run. More blocks than there are: all train.
///
/// ```
/// use freeze_core::policy::{Score, Settings, WeightedSettings};
///
/// let scores = [("body.0", 3.0), ("body.1", 1.0)].map(|(name, score)| (name.into(), score));
/// let settings = WeightedSettings { blocks: 1, score: Score::Given(scores.into()), ..Default::default() };
/// let policy = settings.policy()?;
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Weighted {
    settings: WeightedSettings,
    turns: Turns,
    memory: Memory,
}

impl Settings for WeightedSettings {
    const NAME: &'static str = "weighted";
    const FAMILY: Family = Family::Rotating;
    const ABOUT: &'static str =
        "blocks drawn by their scores every so many steps (GRASS, OwLore, AdaGradSelect)";
    type Policy = Weighted;

    fn policy(self) -> Result<Weighted> {
        self.check(Self::NAME)?;
        let turns = Turns::new("every", self.every)?;
        Ok(Weighted { settings: self, turns, memory: Memory::default() })
    }
}

impl Weighted {
    /// The scores of the members, in their order.
    fn scores(&self, members: &Members, base: &FreezePlan) -> Result<Vec<Option<f64>>> {
        let Score::Given(given) = &self.settings.score else {
            let score = |member| {
                let leaves = members.leaves(member).iter();
                leaves.filter_map(|leaf| self.memory.score(*leaf)).reduce(libm::hypot).map(finite)
            };
            return Ok((0..members.len()).map(score).collect());
        };
        let blocks = Blocks::of(base.paths(), &self.settings.by)?;
        let fault = |why| Error::policy(WeightedSettings::NAME, why);
        if let Some(name) = given.keys().find(|name| !blocks.names().any(|block| block == *name)) {
            let near = near(name, blocks.names());
            return Err(fault(format!("`score` names no block of the model: `{name}`{near}")));
        }
        let score = |name: &str| match given.get(name) {
            Some(&score) => Ok(Some(score)),
            None => Err(fault(format!("`score` has no number for the block `{name}`"))),
        };
        members.names().map(score).collect()
    }

    fn draw(&self, scores: &[Option<f64>], counts: &[u64], at: Elapsed, turn: Turn) -> Vec<usize> {
        let WeightedSettings { blocks, sampling, epsilon, temperature, floor, seed, .. } =
            self.settings;
        let mut draws = Draws::new(seed, turn.index);
        let by_counts = sampling == Sampling::Dirichlet && at.epoch > 0;
        let chances = match (sampling, by_counts) {
            (Sampling::Proportional, _) => draw_chances(scores, temperature, floor),
            (_, true) => dirichlet(counts, &mut draws),
            (_, false) if draws.unit() < epsilon => return draws.distinct(scores.len(), blocks),
            (_, false) => return largest_scores(scores, blocks),
        };
        drawn(&chances, blocks, &mut draws)
    }

    /// The memory after a draw for `turn`.
    fn after_draw(
        &self,
        members: &Members,
        base: &FreezePlan,
        at: Elapsed,
        turn: Turn,
    ) -> Result<Memory> {
        let scores = self.scores(members, base)?;
        let names: Vec<&str> = members.names().collect();
        let counts = names.iter().map(|name| self.memory.count(name)).collect::<Vec<_>>();
        let drawn = self.draw(&scores, &counts, at, turn);
        Ok(self.memory.after(&names, &scores, &drawn))
    }
}

impl Policy for Weighted {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        self.turns.is_due(at, moment)
    }

    fn needs(&self, at: Elapsed) -> Needs {
        let ends = (at.step + 1).is_multiple_of(self.settings.every);
        match &self.settings.score {
            Score::Gradient => Needs::GRADIENT,
            Score::Weight if at.step == 0 => Needs::TENSORS | Needs::WEIGHT,
            Score::Weight if ends => Needs::WEIGHT,
            Score::Weight | Score::Given(_) => Needs::NONE,
        }
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        let (norm, share): (NormOf, f64) = match self.settings.score {
            Score::Gradient => (gradient_norm, self.settings.smoothing),
            Score::Weight if seen.is_at_start() => (norm_of_tensor, 0.0),
            Score::Weight => (weight_norm, 0.0),
            Score::Given(_) => return Ok(()),
        };
        let norms = norms_of_leaves(seen.tensors(), norm)?;
        self.memory.see(norms, share);
        Ok(())
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let turn = self.turns.at(at)?;
        let WeightedSettings { by, train_rest, state, .. } = &self.settings;
        let members = Members::of(base, by, Who::Body, &[])?;
        let memory = match self.turns.remembers(turn) {
            true => self.memory.clone(),
            false => self.after_draw(&members, base, at, turn)?,
        };
        let how = memory.told();
        let is_drawn = |(at, name): (usize, &str)| memory.has_drawn(name).then_some(at);
        let active: Vec<usize> = members.names().enumerate().filter_map(is_drawn).collect();
        let rest = Rest::trained_if(*train_rest);
        let mut decision = members
            .decision(base, &active, rest, turn, &how)?
            .keeping(state.of_frozen())
            .metric("weighted/turn", turn.index as f64)
            .metric("weighted/turns", turn.all as f64)
            .metric("weighted/blocks", active.len() as f64)
            .metric("weighted/mean_score", memory.mean());
        if turn.begins && *state == TurnState::ResetAll {
            let trained = Members::trained(&decision.plan);
            decision = decision.restarting(trained);
        }
        self.memory = memory;
        self.turns.remember(turn);
        Ok(decision)
    }

    fn describe(&self) -> String {
        described(&self.settings)
    }

    fn state(&self) -> Value {
        json!({ "turns": self.turns.state(), "memory": self.memory })
    }

    fn load_state(&mut self, state: &Value) -> Result<()> {
        let policy = || described(&self.settings);
        let unfit = |why: String| Error::PolicyState { policy: policy(), why };
        let Some([begun, memory]) = parts(state) else {
            return Err(unfit("it is no object of `turns` and `memory`".into()));
        };
        let mut turns = self.turns;
        turns.load(begun, policy)?;
        let memory = Memory::loaded(memory).map_err(unfit)?;
        (self.turns, self.memory) = (turns, memory);
        Ok(())
    }
}

/// The two parts of a saved state.
fn parts(state: &Value) -> Option<[&Value; 2]> {
    let parts = state.as_object().filter(|parts| parts.len() == 2)?;
    Some([parts.get("turns")?, parts.get("memory")?])
}

/// The norm of norms that are finite may be infinite.
fn finite(score: f64) -> f64 {
    score.min(f64::MAX)
}
