//! A small run with everything that has to be saved: dropout, batch norm, shuffling, an optimizer
//! with state, a schedule.

use std::path::Path;

use candle_core::{DType, Device, ModuleT, Tensor};
use candle_nn::{
    BatchNorm, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, batch_norm, linear,
    loss::cross_entropy,
};
use freeze_core::checkpoint::{Checkpoint, MetricHistory, Resumed};
use freeze_core::nn::Dropout;
use freeze_core::optim::{Adam, AdamW, Momentum, ParamsAdam, ParamsSgd, Sgd};
use freeze_core::{Elapsed, Freezable, FreezePlan, Freezer, PlanOptimizer, Result};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::hooks::Hook;
pub use crate::hooks::When;

pub const EPOCHS: usize = 6;
const SAMPLES: usize = 12;
const BATCH: usize = 4;
pub const PER_EPOCH: usize = SAMPLES / BATCH;
pub const STEPS: usize = EPOCHS * PER_EPOCH;

/// Five leaves.
#[derive(Freezable)]
pub struct Net {
    pub stem: Linear,
    pub norm: BatchNorm,
    pub body: Vec<Linear>,
    pub dropout: Dropout,
    pub head: Linear,
}

impl Net {
    pub fn new(width: usize, seed: u64) -> Result<Self> {
        let map = VarMap::new();
        let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        let body = |i: usize| linear(width, width, vb.pp(format!("body.{i}")));
        Ok(Self {
            stem: linear(5, width, vb.pp("stem"))?,
            norm: batch_norm(width, 1e-5, vb.pp("norm"))?,
            body: (0..2).map(body).collect::<candle_core::Result<_>>()?,
            dropout: Dropout::new(0.2, seed)?,
            head: linear(width, 3, vb.pp("head"))?,
        })
    }
}

impl ModuleT for Net {
    fn forward_t(&self, xs: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let mut xs = self.norm.forward_t(&self.stem.forward(xs)?, train)?;
        for layer in &self.body {
            xs = layer.forward(&xs)?.gelu()?;
        }
        self.head.forward(&self.dropout.forward(&xs, train)?)
    }
}

/// An optimizer of any kind that can be saved.
pub enum Opt {
    Candle(candle_nn::SGD),
    Sgd(Sgd),
    AdamW(AdamW),
    Adam(Adam),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Candle,
    Momentum,
    AdamW,
    Adam,
}

impl Opt {
    fn new(kind: Kind, net: &Freezer<Net>) -> Result<Self> {
        let (vars, lr) = (net.vars(), 0.03);
        Ok(match kind {
            Kind::Candle => Self::Candle(candle_nn::SGD::new(vars, lr)?),
            Kind::Momentum => {
                let momentum = Momentum::Heavy(0.9);
                Self::Sgd(Sgd::new(vars, ParamsSgd { lr, momentum, ..Default::default() })?)
            }
            Kind::AdamW => Self::AdamW(AdamW::new(vars, ParamsAdamW { lr, ..Default::default() })?),
            Kind::Adam => Self::Adam(Adam::new(vars, ParamsAdam { lr, ..Default::default() })?),
        })
    }

    pub fn planned(&mut self) -> &mut dyn PlanOptimizer {
        match self {
            Self::Candle(opt) => opt,
            Self::Sgd(opt) => opt,
            Self::AdamW(opt) => opt,
            Self::Adam(opt) => opt,
        }
    }

    fn backward_step(&mut self, loss: &Tensor) -> candle_core::Result<()> {
        match self {
            Self::Candle(opt) => opt.backward_step(loss),
            Self::Sgd(opt) => opt.backward_step(loss),
            Self::AdamW(opt) => opt.backward_step(loss),
            Self::Adam(opt) => opt.backward_step(loss),
        }
    }

    /// Lets the learning rate fall, so that a resumed run must know where it stood.
    fn decay(&mut self) {
        match self {
            Self::Candle(opt) => opt.set_learning_rate(opt.learning_rate() * 0.97),
            Self::Sgd(opt) => opt.set_learning_rate(opt.learning_rate() * 0.97),
            Self::AdamW(opt) => opt.set_learning_rate(opt.learning_rate() * 0.97),
            Self::Adam(opt) => opt.set_learning_rate(opt.learning_rate() * 0.97),
        }
    }
}

/// A run and where it stands.
pub struct Run {
    pub net: Freezer<Net>,
    pub opt: Opt,
    pub hook: Hook,
    pub when: When,
    /// As it was when the current epoch began: the epoch's order can be drawn from it again.
    pub shuffle: ChaCha8Rng,
    pub history: MetricHistory,
    pub step: usize,
}

impl Run {
    /// A fresh run from random weights, with generators of its own.
    pub fn new(kind: Kind, when: When, seed: u64) -> Result<Self> {
        Self::of_width(8, kind, when, seed)
    }

    pub fn of_width(width: usize, kind: Kind, when: When, seed: u64) -> Result<Self> {
        let net = Freezer::new(Net::new(width, seed)?)?;
        let opt = Opt::new(kind, &net)?;
        let (shuffle, history) = (ChaCha8Rng::seed_from_u64(seed), MetricHistory::default());
        Ok(Self { net, opt, hook: Hook::new(when)?, when, shuffle, history, step: 0 })
    }

    fn elapsed(&self) -> Elapsed {
        let elapsed = Elapsed::new(self.step / PER_EPOCH, EPOCHS);
        match self.when {
            When::LinearByStep => elapsed.at_step(self.step, STEPS),
            _ => Elapsed { step: self.step, ..elapsed },
        }
    }

    /// All that is saved and resumed, named once.
    pub fn with_checkpoint<R>(
        &mut self,
        act: impl FnOnce(Checkpoint<'_, Net>) -> Result<R>,
    ) -> Result<R> {
        let (elapsed, samples) = (self.elapsed(), self.step.wrapping_mul(BATCH) as u64);
        act(Checkpoint::of(&mut self.net)
            .optimizer(self.opt.planned())
            .policy(self.hook.policy())
            .random("shuffle", &mut self.shuffle)
            .history(&mut self.history)
            .progress(elapsed)
            .samples(samples))
    }

    pub fn save(&mut self, path: &Path) -> Result<()> {
        self.with_checkpoint(|run| run.save(path))
    }

    pub fn resume(&mut self, path: &Path) -> Result<Resumed> {
        let resumed = self.with_checkpoint(|run| run.resume(path))?;
        self.step = resumed.progress.step;
        self.hook.rewind();
        Ok(resumed)
    }

    /// Trains up to `until` completed steps and calls `after_step` after each, hooks included.
    pub fn train(
        &mut self,
        until: usize,
        mut after_step: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let (xs, ys) = data()?;
        while self.step < until {
            let mut next = self.shuffle.clone();
            let mut order: Vec<u32> = (0..SAMPLES as u32).collect();
            order.shuffle(&mut next);
            let at = self.step % PER_EPOCH * BATCH;
            let batch = Tensor::new(&order[at..at + BATCH], &Device::Cpu)?;
            let (x, y) = (xs.index_select(&batch, 0)?, ys.index_select(&batch, 0)?);
            let loss = cross_entropy(&self.net.forward_t(&x, true)?, &y)?;
            self.opt.backward_step(&loss)?;
            self.opt.decay();
            self.step += 1;
            let elapsed = self.elapsed();
            self.history.record("loss", f64::from(loss.to_scalar::<f32>()?), elapsed);
            self.hook.step_end(&mut self.net, self.opt.planned(), elapsed)?;
            if self.step.is_multiple_of(PER_EPOCH) {
                self.shuffle = next;
                self.hook.epoch_end(&mut self.net, self.opt.planned(), elapsed)?;
            }
            let valid = cross_entropy(&self.net.forward_t(&xs, false)?, &ys)?;
            self.history.record("valid", f64::from(valid.to_scalar::<f32>()?), elapsed);
            after_step(self)?;
        }
        Ok(())
    }

    /// Every bit that can differ: losses, weights and buffers of model and view, optimizer state,
    /// plans, generators, schedule.
    pub fn trace(&mut self) -> Result<Trace> {
        // A fresh optimizer learns its names by the plan in force.
        let plan = self.net.plan().clone();
        self.net.refine(&plan, &mut [self.opt.planned()])?;
        let state = self.opt.planned().save_state()?;
        let moments = state.tensors.iter().map(|(name, t)| (name.clone(), bits(t)));
        let losses = self.history.records().iter();
        Ok(Trace {
            losses: losses.map(|r| (r.name.clone(), r.value.to_bits(), r.elapsed)).collect(),
            whole: tensors(self.net.whole())?,
            view: tensors(&self.net)?,
            moments: moments.collect(),
            rate: state.learning_rate.to_bits(),
            steps: state.steps.into_iter().collect(),
            plans: (self.net.plan().clone(), self.net.base().clone()),
            random: format!("{:?} {:?}", self.shuffle, self.net.dropout.state()),
            schedule: self.hook.policy().state().to_string(),
        })
    }
}

/// What two runs are compared by.
#[derive(Debug, PartialEq)]
pub struct Trace {
    pub losses: Vec<(String, u64, Elapsed)>,
    pub whole: Vec<(String, Vec<u64>)>,
    pub view: Vec<(String, Vec<u64>)>,
    pub moments: Vec<(String, Vec<u64>)>,
    pub rate: u64,
    pub steps: Vec<(String, u64)>,
    pub plans: (FreezePlan, FreezePlan),
    pub random: String,
    pub schedule: String,
}

/// Every tensor of a model by name, bit for bit.
pub fn tensors(net: &Net) -> Result<Vec<(String, Vec<u64>)>> {
    Ok(net.named_tensors()?.iter().map(|(name, tensor)| (name.clone(), bits(tensor))).collect())
}

pub fn bits(tensor: &Tensor) -> Vec<u64> {
    let flat = tensor.flatten_all().and_then(|t| t.to_dtype(DType::F64)).expect("a flat tensor");
    flat.to_vec1::<f64>().expect("numbers").into_iter().map(f64::to_bits).collect()
}

/// The same samples in every run.
fn data() -> Result<(Tensor, Tensor)> {
    let numbers = (0..SAMPLES * 5).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect();
    let xs = Tensor::from_vec(numbers, (SAMPLES, 5), &Device::Cpu)?;
    let ys = Tensor::from_vec((0..SAMPLES as u32).map(|i| i % 3).collect(), SAMPLES, &Device::Cpu)?;
    Ok((xs, ys))
}

/// A folder in memory, where there is a file system in it: a million files are no burden on the disk.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let dir = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    dir.expect("a folder")
}
