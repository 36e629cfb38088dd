//! Keeps each step within a limit of time, of memory, or of both.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::drops::Drops;
use super::elastic::relative_importance;
use super::problem::Problem;
use super::rhythm::{Rhythm, Turn};
use super::settings::BudgetSettings;
use super::told::Told;
use crate::error::{Error, Result};
use crate::forecast::Calibration;
use crate::plan::FreezePlan;
use crate::policy::{Decision, Elapsed, Family, Moment, Needs, Observation, Policy, Settings};

/// Trains the leaves that lower the loss most, of those that a step can train within a share of a full
/// step's time, within a number of bytes, or both.
///
/// Each `every` of the run it looks at leaves for some steps, and then holds to its choice. It looks at
/// the first-order drop of the loss that training a leaf brings,
///
/// ```text
/// I_k = -sum(g_k * dw_k)
/// ```
///
/// with the gradient `g` of a step and the weight's change `dw` since the step before, summed over the
/// leaves of a block and averaged over `probe` batches. Then it maximises the sum of `I` of the blocks
/// that train, where the costs are those of [`forecast`](crate::forecast): a step computes the forward,
/// passes gradients down to the deepest block that trains, and computes the gradients of weights,
/// updates and keeps state for the blocks that train. So to train a deep block is dear, and to add
/// another above it cheap.
///
/// ```
/// use freeze_core::policy::{Budget, BudgetSettings, Policy, Settings};
///
/// let budget: Budget = BudgetSettings { time: Some(0.6), every: 0.25, ..Default::default() }.policy()?;
/// assert_eq!(budget.describe(), "budget(time=0.6, every=0.25, probe=3, by blocks)");
/// let small = BudgetSettings { time: None, bytes: Some(64 << 20), every: 1.0, ..Default::default() };
/// assert_eq!(small.policy()?.describe(), "budget(bytes=67108864, every=1, probe=3, by blocks)");
/// assert!(BudgetSettings { time: Some(1.5), ..Default::default() }.policy().is_err());
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// # Costs
///
/// They are measured once, by [`forecast::calibrate`](fn@crate::forecast::calibrate), given by
/// [`calibrated`](Self::calibrated) or observed at the start ([`Needs::COSTS`]), and saved with the
/// policy's state: a resumed run decides the same. A time is a share of a step that trains everything,
/// also where the user froze leaves by hand.
///
/// Not counted are what an optimizer keeps beside
/// [moments](crate::forecast::Calibration::with_moments), weights, batches, and temporary results of
/// operations. With [`cached`](BudgetSettings::cached) the forward of everything in front of the first
/// trained operation takes no time: not that of reading records, nor of the part of a stage that is
/// behind the cache's boundary. Layers that are not of [`nn`](crate::nn) are not measured one by one:
/// such a leaf is only trained where a measured one in front of it is.
///
/// # Limits
///
/// The steps that look, `probe + 1` in each cycle, train everything and take a full step's time. Within
/// a limit of bytes they do not: blocks then train in turns, as many rounds of `probe + 1` steps as it
/// takes. A block that cannot train within the limit is never looked at and never trains. Leaves that
/// are declared `always`, and those in no block, always train, and what they cost is part of the budget.
///
/// Source: ElasticTrainer (arXiv:2312.14227), GreenTrainer (arXiv:2309.13192). Defaults: half of the
/// time as in GreenTrainer, every third of the run as in ElasticTrainer. What is done otherwise:
/// importance is averaged over batches; the choice is the best one and not that of a program that
/// forgets partial choices, and within the budget, which the official rounding may exceed; the first
/// layer can be chosen; a budget that nothing fits in is an error, where the official codes train
/// nothing, replace it or fail; whole blocks are chosen, as in the authors' later work; the optimizer's
/// state is not touched by looking.
#[derive(Clone, Debug)]
pub struct Budget {
    settings: BudgetSettings,
    costs: Option<Arc<Calibration>>,
    /// How many rounds of looking a cycle has, as of the last decision.
    rounds: usize,
    drops: Drops,
    /// The steps that the run had completed at the first decision: cycles are counted from there.
    began: Option<usize>,
}

/// What is saved of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    costs: Option<Calibration>,
    rounds: usize,
    drops: Drops,
    #[serde(default)]
    began: Option<usize>,
}

impl Settings for BudgetSettings {
    const NAME: &'static str = "budget";
    const FAMILY: Family = Family::Budget;
    const ABOUT: &'static str =
        "trains what lowers the loss most within time or memory (ElasticTrainer)";
    type Policy = Budget;

    fn policy(self) -> Result<Budget> {
        self.check()?;
        Ok(Budget { settings: self, costs: None, rounds: 1, drops: Drops::default(), began: None })
    }
}

impl Budget {
    /// Sets the measured costs of the model's training step.
    ///
    /// ```
    /// # use candle_core::{DType, Device, Module, Tensor};
    /// # use candle_nn::{VarBuilder, VarMap};
    /// # use freeze_core::{Freezable, Freezer, forecast::calibrate, nn::{Linear, linear}};
    /// # #[derive(Freezable)]
    /// # struct Net { body: Linear, head: Linear }
    /// # let map = VarMap::new();
    /// # let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    /// # let net = Net { body: linear(8, 8, vb.pp("body"))?, head: linear(8, 2, vb.pp("head"))? };
    /// # let net = Freezer::new(net)?;
    /// # let x = Tensor::randn(0f32, 1., (4, 8), &Device::Cpu)?;
    /// use freeze_core::policy::{BudgetSettings, Settings};
    ///
    /// let costs = calibrate(&net, |net| net.head.forward(&net.body.forward(&x)?)?.sqr()?.mean_all())?;
    /// let policy = BudgetSettings::default().policy()?.calibrated(costs);
    /// # Ok::<(), freeze_core::Error>(())
    /// ```
    pub fn calibrated(self, costs: impl Into<Arc<Calibration>>) -> Self {
        Self { costs: Some(costs.into()), ..self }
    }

    fn rhythm(&self, rounds: usize) -> Rhythm {
        let round = self.settings.probe.saturating_add(1);
        Rhythm { every: self.settings.every, round, rounds }
    }

    fn since_begun(&self, at: Elapsed) -> Elapsed {
        since(self.began.unwrap_or(0), at)
    }

    /// The decision, and how many rounds a cycle has by it, of a policy that began after `began` steps.
    fn decided(&self, began: usize, at: Elapsed, base: &FreezePlan) -> Result<(Decision, usize)> {
        let Some(costs) = &self.costs else {
            let why = "it has no costs to go by; give it those of `forecast::calibrate` by \
                       `calibrated`, or calibrate the run before its first step";
            return Err(Error::policy("budget", why));
        };
        let problem = Problem::new(costs, base, &self.settings)?;
        let rounds = problem.rounds();
        let rhythm = self.rhythm(rounds.len());
        at.check_steps()?;
        at.fraction()?;
        let at = since(began, at);
        rhythm.check(at)?;
        if problem.is_idle() {
            return Ok((Decision::new(base.clone()), rounds.len()));
        }
        let told = Told { problem: &problem, base };
        let decision = match rhythm.turn(rhythm.place(at.step, at.steps)) {
            Turn::Look(round) => {
                let units = rounds.get(round).map(Vec::as_slice).unwrap_or_default();
                told.looking(units, round, rounds.len())?
            }
            Turn::Hold => {
                let values = self.values(&problem);
                told.choosing(&problem.choose(&values), &values)?
            }
        };
        Ok((decision, rounds.len()))
    }

    /// The importance of each unit, relative to the largest.
    fn values(&self, problem: &Problem<'_>) -> Vec<f64> {
        if self.drops.is_empty() {
            tracing::warn!(
                "the budget has seen no drop of the loss, so all blocks count the same: the steps that look were \
                 left out, or none was handed to it by `observe`"
            );
        }
        let units = problem.units.list.iter();
        let drops = units.map(|unit| unit.leaves.iter().map(|&leaf| self.drops.mean(leaf)).sum());
        let values = relative_importance(&drops.collect::<Vec<f64>>());
        // Where nothing moved, as in the first steps of a warm-up, all count the same.
        let moved = values.iter().any(|value| *value != 0.0);
        if moved { values } else { vec![1.0; values.len()] }
    }
}

impl Policy for Budget {
    fn is_due(&self, at: Elapsed, moment: Moment) -> bool {
        let at = self.since_begun(at);
        let rhythm = self.rhythm(self.rounds);
        match moment {
            Moment::Step => at.steps > 0 && rhythm.turns(rhythm.place(at.step, at.steps)),
            Moment::Start | Moment::Epoch => true,
        }
    }

    fn needs(&self, at: Elapsed) -> Needs {
        let at = self.since_begun(at);
        let rhythm = self.rhythm(self.rounds);
        let looks = at.steps > 0 && {
            let place = rhythm.place(at.step, at.steps);
            matches!(rhythm.turn(place), Turn::Look(_))
        };
        let drop = if looks { Needs::LOSS_DROP } else { Needs::NONE };
        let costs = if self.costs.is_none() { Needs::COSTS } else { Needs::NONE };
        drop | costs
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        let (at, rhythm) = (self.since_begun(seen.at()), self.rhythm(self.rounds));
        // A step that is counted as completed began one step earlier.
        let began = at.step.checked_sub(1).filter(|_| !seen.is_at_start() && at.steps > 0);
        let place = began.map(|step| rhythm.place(step, at.steps));
        if let Some(place) = place.filter(|&place| rhythm.shows(place)) {
            self.drops = self.drops.with(place.cycle, seen)?;
        }
        if self.costs.is_none() {
            self.costs = seen.calibration().cloned();
        }
        Ok(())
    }

    fn decide(&mut self, at: Elapsed, base: &FreezePlan) -> Result<Decision> {
        let began = self.began.unwrap_or(at.step);
        let (decision, rounds) = self.decided(began, at, base)?;
        (self.rounds, self.began) = (rounds, Some(began));
        let at = since(began, at);
        if self.rhythm(rounds).place(at.step, at.steps).step == 0 {
            // A cycle begins: in a run of another length, or where another policy has it begin anew, one of the same number
            // was another.
            self.drops = Drops::default();
        }
        Ok(decision)
    }

    fn describe(&self) -> String {
        self.settings.to_string()
    }

    fn state(&self) -> Value {
        let costs = self.costs.as_deref().cloned();
        let state =
            State { costs, rounds: self.rounds, drops: self.drops.clone(), began: self.began };
        serde_json::to_value(state).unwrap_or_default()
    }

    fn load_state(&mut self, state: &Value) -> Result<()> {
        let refuse = |why: String| Error::PolicyState { policy: self.describe(), why };
        let State { costs, rounds, drops, began } =
            serde_json::from_value(state.clone()).map_err(|error| refuse(error.to_string()))?;
        if rounds == 0 {
            return Err(refuse("it looks in no round".into()));
        }
        (self.costs, self.rounds, self.drops) = (costs.map(Arc::new), rounds, drops);
        self.began = began;
        Ok(())
    }
}

/// The steps behind the first `began`, and how many there are.
fn since(began: usize, at: Elapsed) -> Elapsed {
    Elapsed { step: at.step.saturating_sub(began), steps: at.steps.saturating_sub(began), ..at }
}
