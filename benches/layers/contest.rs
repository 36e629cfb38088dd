//! Contestants that take turns within one run.
//!
//! In every round each depth of freezing is measured with its contestants one after another, so that
//! what else the machine does hits all of them. A turn is a few steps. Ratios are taken within a round,
//! and their medians printed. Stock, which is far behind, joins every third round only, so that the
//! others get more of them.

use std::time::{Duration, Instant};

use candle_core::backprop::GradStore;
use candle_core::{Module, Result, Tensor};
use candle_nn::Optimizer;
use candle_nn::loss::cross_entropy;
use freeze_core::forecast::{Calibration, calibrate_with_update};
use freeze_core::optim::AdamW;
use freeze_core::{Freezable, FreezePlan, Freezer, LeafState, nn};

use super::clock::Moment;
use super::kit::Net;
use super::table::{IDEAL, OURS, Row, STOCK, Sample};

/// A model to measure, and what it should reach.
pub(crate) struct Contest {
    pub(crate) title: String,
    pub(crate) input: Tensor,
    /// A class for each row of the scores.
    pub(crate) targets: Tensor,
    /// The number of stages: the depths are counted in them.
    pub(crate) stages: usize,
    /// Turns of a single step.
    pub(crate) alternate: bool,
    /// How long to measure; at least twelve rounds are.
    pub(crate) seconds: u64,
    /// At most this many times the ideal's step.
    pub(crate) ideal: f64,
    /// At least so many times faster than stock's backward, at every depth.
    pub(crate) backward: Option<f64>,
    /// The same with only the first and the last leaf trained.
    pub(crate) ends: Option<f64>,
}

/// The steps of a turn that count, if contestants do not alternate: as in training alone.
const STEPS: usize = 3;

/// How often new contestants are made: where their tensors lie in memory makes a difference of several
/// percent.
const SEATS: u32 = 4;

/// What is frozen.
#[derive(Clone, Copy)]
pub(crate) enum Frozen {
    /// The stages before this one.
    Before(usize),
    /// Every leaf but the first and the last.
    Between,
}

/// How much is frozen of a model of so many stages.
pub(crate) fn depths(stages: usize) -> [(&'static str, Frozen); 6] {
    [
        ("nothing", Frozen::Before(0)),
        ("25 %", Frozen::Before(stages / 4)),
        ("50 %", Frozen::Before(stages / 2)),
        ("75 %", Frozen::Before(stages * 3 / 4)),
        ("all but last", Frozen::Before(stages - 1)),
        ("all but ends", Frozen::Between),
    ]
}

/// A model that trains: stages whose tensors are constants, then those that have variables.
pub(crate) struct Contestant<S> {
    constant: Vec<S>,
    trained: Net<S>,
    optimizer: AdamW,
    whose: Whose,
}

/// Whose loss and backward pass a contestant calls.
#[derive(Clone, Copy)]
pub(crate) enum Whose {
    Ours,
    Candles,
}

/// All that take turns at one depth.
struct Turn<O, S> {
    stock: Contestant<S>,
    ours: Contestant<O>,
    ideal: Option<Contestant<O>>,
}

impl Contest {
    /// Measures models of the stages that `ours` and `stock` make, and prints the table.
    pub(crate) fn run<O, S>(
        self,
        ours: impl Fn(usize) -> Result<O>,
        stock: impl Fn(usize) -> Result<S>,
    ) -> Result<()>
    where
        O: Freezable + Module,
        S: Freezable + Module,
    {
        let all = self.stages;
        let mut whole = Whole::new(&ours, all)?;
        let costs = whole.calibrate(|net| self.loss(Whose::Ours, net, &self.input))?;
        let depths = depths(all);
        let row =
            |(label, frozen)| Ok(Row::new(label, costs.forecast(&whole.plan(frozen)?)?.step_ratio));
        let mut rows = depths.into_iter().map(row).collect::<Result<Vec<_>>>()?;
        drop(whole);
        let turn = |(_, frozen)| Turn::new(&ours, &stock, frozen, all);
        let (mut turns, mut rounds) = (Vec::new(), 0);
        for _ in 0..SEATS {
            // The earlier ones are still there, so that the new ones lie elsewhere.
            turns = depths.into_iter().map(turn).collect::<Result<Vec<_>>>()?;
            // The first round makes the optimizers' state and warms up.
            turns.iter_mut().try_for_each(|turn| turn.take(0, &self).map(drop))?;
            let (start, mut round) = (Instant::now(), 1);
            while round <= 3 || start.elapsed() < Duration::from_secs(self.seconds) / SEATS {
                for (turn, row) in turns.iter_mut().zip(&mut rows) {
                    row.samples.extend(turn.take(round, &self)?);
                }
                round += 1;
            }
            rounds += round - 1;
        }
        drop(turns);
        println!("\n{}; {rounds} rounds of {}", self.title, self.steps());
        Row::print(&rows, &self);
        Row::print_shares(&rows);
        Ok(())
    }

    /// The steps of a turn that count.
    fn steps(&self) -> usize {
        if self.alternate { 1 } else { STEPS }
    }

    /// The loss by the functions of whose layers the model is made of.
    fn loss(&self, whose: Whose, net: &impl Module, input: &Tensor) -> Result<Tensor> {
        let scores = net.forward(input)?;
        let rows = scores.rank() - 1;
        match whose {
            Whose::Ours => {
                let targets = self.targets.reshape(&scores.dims()[..rows])?;
                nn::cross_entropy(&scores, &targets, None)
            }
            Whose::Candles => cross_entropy(&scores.flatten_to(rows - 1)?, &self.targets),
        }
    }
}

/// A whole model with its optimizer.
pub(crate) struct Whole<S> {
    model: Freezer<Net<S>>,
    optimizer: AdamW,
}

impl<S: Freezable + Module> Whole<S> {
    pub(crate) fn new(stage: impl Fn(usize) -> Result<S>, stages: usize) -> Result<Self> {
        let net = Net { stages: (0..stages).map(stage).collect::<Result<_>>()? };
        Ok(Self { optimizer: optimizer(&net)?, model: Freezer::new(net)? })
    }

    fn calibrate(&mut self, loss: impl Fn(&Net<S>) -> Result<Tensor>) -> Result<Calibration> {
        let update = |grads: &GradStore| self.optimizer.step(grads);
        Ok(calibrate_with_update(&self.model, loss, update)?)
    }

    fn plan(&self, frozen: Frozen) -> Result<FreezePlan> {
        let net = self.model.whole();
        let mut plan = FreezePlan::all_trained(net)?;
        match frozen {
            Frozen::Before(0) => {}
            Frozen::Before(stage) => {
                let leaves = net.leaf_before(&format!("stages.{stage}"))?;
                plan.freeze_front(leaves)?;
            }
            Frozen::Between => {
                for leaf in 1..plan.len() - 1 {
                    plan.set(leaf, LeafState::Frozen)?;
                }
            }
        }
        Ok(plan)
    }

    pub(crate) fn contestant(self, whose: Whose, frozen: Frozen) -> Result<Contestant<S>> {
        let trained = self.model.whole().view(&self.plan(frozen)?)?.into_inner();
        Ok(Contestant { constant: Vec::new(), trained, optimizer: self.optimizer, whose })
    }
}

impl<S: Freezable + Module> Contestant<S> {
    /// The forward of the stages before `first`, and a model that is only the rest.
    fn ideal(stage: impl Fn(usize) -> Result<S>, first: usize, stages: usize) -> Result<Self> {
        let make = |stages: std::ops::Range<usize>| stages.map(&stage).collect::<Result<Vec<_>>>();
        let constant = Net { stages: make(0..first)? };
        let constant = constant.freeze_upto(constant.leaves()?.len())?.into_inner();
        let trained = Net { stages: make(first..stages)? };
        let optimizer = optimizer(&trained)?;
        Ok(Self { constant: constant.stages, trained, optimizer, whose: Whose::Ours })
    }

    /// So many steps. Without `alternate` one comes before, which finds caches and allocator as
    /// another contestant left them.
    pub(crate) fn take(&mut self, contest: &Contest, steps: usize) -> Result<Vec<Sample>> {
        if !contest.alternate {
            self.step(contest)?;
        }
        (0..steps).map(|_| self.step(contest)).collect()
    }

    fn step(&mut self, contest: &Contest) -> Result<Sample> {
        let start = Moment::now();
        let input = contest.input.clone();
        let input = self.constant.iter().try_fold(input, |xs, stage| stage.forward(&xs))?;
        let loss = contest.loss(self.whose, &self.trained, &input)?;
        let forward = Moment::now();
        let grads = match self.whose {
            Whose::Ours => freeze_core::backward(&loss)?,
            Whose::Candles => loss.backward()?,
        };
        let backward = Moment::now() - forward;
        self.optimizer.step(&grads)?;
        drop((grads, loss, input));
        Ok(Sample { backward, step: Moment::now() - start })
    }
}

impl<O: Freezable + Module, S: Freezable + Module> Turn<O, S> {
    /// Each contestant gets tensors of its own.
    fn new(
        ours: impl Fn(usize) -> Result<O>,
        stock: impl Fn(usize) -> Result<S>,
        frozen: Frozen,
        stages: usize,
    ) -> Result<Self> {
        let ideal = match frozen {
            Frozen::Before(first) => Some(Contestant::ideal(&ours, first, stages)?),
            Frozen::Between => None,
        };
        let stock = Whole::new(stock, stages)?.contestant(Whose::Candles, frozen)?;
        Ok(Self { stock, ours: Whole::new(&ours, stages)?.contestant(Whose::Ours, frozen)?, ideal })
    }

    /// Measures all, in an order that changes with the round.
    fn take(&mut self, round: usize, contest: &Contest) -> Result<Vec<[Option<Sample>; 3]>> {
        let mut order = vec![OURS, IDEAL];
        if round % 3 == 1 {
            order.push(STOCK);
        }
        if round % 2 == 1 {
            order.reverse();
        }
        let steps = contest.steps();
        let mut samples = vec![[None; 3]; steps];
        for who in order {
            let taken = match who {
                STOCK => Some(self.stock.take(contest, steps)?),
                OURS => Some(self.ours.take(contest, steps)?),
                _ => self.ideal.as_mut().map(|ideal| ideal.take(contest, steps)).transpose()?,
            };
            for (samples, sample) in samples.iter_mut().zip(taken.into_iter().flatten()) {
                samples[who] = Some(sample);
            }
        }
        Ok(samples)
    }
}

fn optimizer<S: Freezable>(net: &Net<S>) -> Result<AdamW> {
    AdamW::new_lr(net.vars()?, 1e-4)
}
