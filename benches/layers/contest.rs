//! Contestants that take turns within one run.
//!
//! In every round each depth of freezing is measured with its contestants one after another, so that
//! what else the machine does hits all of them. Ratios are taken within a round, and their medians
//! printed. Stock, which is far behind, joins every third round only: the others get more of them.

use std::time::{Duration, Instant};

use candle_core::backprop::GradStore;
use candle_core::{Module, Result, Tensor};
use candle_nn::Optimizer;
use candle_nn::loss::cross_entropy;
use freeze_core::forecast::{Calibration, calibrate_with_update};
use freeze_core::optim::AdamW;
use freeze_core::{Freezable, FreezePlan, Freezer, LeafState};

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
    /// How long to measure; at least nine rounds are.
    pub(crate) seconds: u64,
    /// At most this many times the ideal's step.
    pub(crate) ideal: f64,
    /// At least so many times faster than stock's backward, at every depth.
    pub(crate) backward: Option<f64>,
    /// The same with only the first and the last leaf trained.
    pub(crate) ends: Option<f64>,
}

/// What is frozen.
#[derive(Clone, Copy)]
enum Frozen {
    /// The stages before this one.
    Before(usize),
    /// Every leaf but the first and the last.
    Between,
}

/// A model that trains: stages whose tensors are constants, then those that have variables.
struct Contestant<S> {
    constant: Vec<S>,
    trained: Net<S>,
    optimizer: AdamW,
}

/// All that take turns at one depth.
struct Turn<O, S> {
    row: Row,
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
        let costs = Whole::new(&ours, all)?.calibrate(|net| self.loss(net, &self.input))?;
        let depths = [
            ("nothing", Frozen::Before(0)),
            ("25 %", Frozen::Before(all / 4)),
            ("50 %", Frozen::Before(all / 2)),
            ("75 %", Frozen::Before(all * 3 / 4)),
            ("all but last", Frozen::Before(all - 1)),
            ("all but ends", Frozen::Between),
        ];
        let mut turns = Vec::new();
        for (label, frozen) in depths {
            let ideal = match frozen {
                Frozen::Before(stage) => Some(Contestant::ideal(&ours, stage, all)?),
                Frozen::Between => None,
            };
            // Each has tensors of its own: where they lie in memory makes a difference of a few percent.
            let (stock, whole) = (Whole::new(&stock, all)?, Whole::new(&ours, all)?);
            let forecast = costs.forecast(&whole.plan(frozen)?)?.step_ratio;
            let (stock, ours) = (stock.contestant(frozen)?, whole.contestant(frozen)?);
            turns.push(Turn { row: Row::new(label, forecast), stock, ours, ideal });
        }
        let mut start = Instant::now();
        let mut rounds = 0;
        while rounds < 10 || start.elapsed() < Duration::from_secs(self.seconds) {
            for turn in &mut turns {
                turn.take(rounds, &self)?;
            }
            if rounds == 0 {
                // The first round makes the optimizers' state and warms up.
                turns.iter_mut().for_each(|turn| turn.row.samples.clear());
                start = Instant::now();
            }
            rounds += 1;
        }
        println!("\n{}; {} rounds", self.title, rounds - 1);
        let rows: Vec<Row> = turns.into_iter().map(|turn| turn.row).collect();
        Row::print(&rows, &self);
        Row::print_shares(&rows);
        Ok(())
    }

    fn loss(&self, net: &impl Module, input: &Tensor) -> Result<Tensor> {
        let scores = net.forward(input)?;
        cross_entropy(&scores.flatten_to(scores.rank() - 2)?, &self.targets)
    }
}

/// A whole model with its optimizer.
struct Whole<S> {
    model: Freezer<Net<S>>,
    optimizer: AdamW,
}

impl<S: Freezable + Module> Whole<S> {
    fn new(stage: impl Fn(usize) -> Result<S>, stages: usize) -> Result<Self> {
        let net = Net { stages: (0..stages).map(stage).collect::<Result<_>>()? };
        Ok(Self { optimizer: optimizer(&net)?, model: Freezer::new(net)? })
    }

    fn calibrate(mut self, loss: impl Fn(&Net<S>) -> Result<Tensor>) -> Result<Calibration> {
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
                plan.freeze_upto(leaves)?;
            }
            Frozen::Between => {
                for leaf in 1..plan.len() - 1 {
                    plan.set(leaf, LeafState::Frozen)?;
                }
            }
        }
        Ok(plan)
    }

    fn contestant(self, frozen: Frozen) -> Result<Contestant<S>> {
        let trained = self.model.whole().view(&self.plan(frozen)?)?;
        Ok(Contestant { constant: Vec::new(), trained, optimizer: self.optimizer })
    }
}

impl<S: Freezable + Module> Contestant<S> {
    /// The forward of the stages before `first`, and a model that is only the rest.
    fn ideal(stage: impl Fn(usize) -> Result<S>, first: usize, stages: usize) -> Result<Self> {
        let make = |stages: std::ops::Range<usize>| stages.map(&stage).collect::<Result<Vec<_>>>();
        let constant = Net { stages: make(0..first)? };
        let constant = constant.view(&FreezePlan::upto(&constant, constant.leaves()?.len())?)?;
        let trained = Net { stages: make(first..stages)? };
        let optimizer = optimizer(&trained)?;
        Ok(Self { constant: constant.stages, trained, optimizer })
    }

    fn step(&mut self, contest: &Contest) -> Result<Sample> {
        let start = Moment::now();
        let input = contest.input.clone();
        let input = self.constant.iter().try_fold(input, |xs, stage| stage.forward(&xs))?;
        let loss = contest.loss(&self.trained, &input)?;
        let forward = Moment::now();
        let grads = loss.backward()?;
        let backward = Moment::now() - forward;
        self.optimizer.step(&grads)?;
        drop((grads, loss, input));
        Ok(Sample { backward, step: Moment::now() - start })
    }
}

impl<O: Freezable + Module, S: Freezable + Module> Turn<O, S> {
    /// Measures all, in an order that changes with the round.
    fn take(&mut self, round: usize, contest: &Contest) -> Result<()> {
        let mut order = vec![OURS, IDEAL];
        if round.is_multiple_of(3) {
            order.push(STOCK);
        }
        if round % 2 == 1 {
            order.reverse();
        }
        let mut samples = [None; 3];
        for who in order {
            samples[who] = match who {
                STOCK => Some(self.stock.step(contest)?),
                OURS => Some(self.ours.step(contest)?),
                _ => self.ideal.as_mut().map(|ideal| ideal.step(contest)).transpose()?,
            };
        }
        self.row.samples.push(samples);
        Ok(())
    }
}

fn optimizer<S: Freezable>(net: &Net<S>) -> Result<AdamW> {
    AdamW::new_lr(net.vars()?, 1e-4)
}
