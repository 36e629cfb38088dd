//! A model that trains, and the times of its steps.

use std::fmt;
use std::time::Instant;

use candle_core::cuda_backend::cudarc::driver::DriverError;
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use candle_core::{Device, Result, Tensor};
use candle_nn::loss::cross_entropy;
use candle_nn::{Module, Optimizer, ParamsAdamW};
use freeze_core::cuda::{memory, reset_peak};
use freeze_core::{Freezable, nn, optim};

use super::Task;
use super::kit::Net;

/// Whose loss, backward pass and optimizer are called.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Whose {
    Ours,
    Candles,
}

enum Adam {
    Ours(optim::AdamW),
    Candles(candle_nn::AdamW),
}

pub(crate) struct Contestant<S> {
    net: Net<S>,
    frozen: usize,
    adam: Adam,
    /// What the frozen stages give.
    cached: Option<Tensor>,
}

/// Milliseconds, and megabytes of tensors at most.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) forward: f64,
    pub(crate) backward: f64,
    pub(crate) update: f64,
    pub(crate) step: f64,
    pub(crate) peak: f64,
}

impl<S: Freezable + Module> Contestant<S> {
    pub(crate) fn new(
        stage: impl Fn(usize) -> Result<S>,
        stages: usize,
        frozen: usize,
        whose: Whose,
    ) -> Result<Self> {
        let net = Net { stages: (0..stages).map(stage).collect::<Result<_>>()? };
        let leaves = match frozen {
            0 => 0,
            _ => net.leaf_before(&format!("stages.{frozen}"))?,
        };
        let params = ParamsAdamW { lr: 1e-4, ..Default::default() };
        let net = net.freeze_upto(leaves)?.into_inner();
        let vars = net.vars()?;
        let adam = match whose {
            Whose::Ours => Adam::Ours(optim::AdamW::new(vars, params)?),
            Whose::Candles => Adam::Candles(candle_nn::AdamW::new(vars, params)?),
        };
        Ok(Self { net, frozen, adam, cached: None })
    }

    /// Runs the frozen stages once for all.
    pub(crate) fn cache(&mut self, task: &Task) -> Result<()> {
        let mut frozen = self.net.stages[..self.frozen].iter();
        self.cached = Some(frozen.try_fold(task.input.clone(), |xs, stage| stage.forward(&xs))?);
        Ok(())
    }

    /// One turn: some steps to warm up, steps whose parts are timed, and then steps in a row.
    pub(crate) fn take(&mut self, task: &Task) -> Result<Times> {
        let card = task.input.device().clone();
        for _ in 0..3 {
            self.step(task, || Ok(()))?;
        }
        reset_peak(&card)?;
        let mut parts = Vec::new();
        for _ in 0..task.steps {
            let mut moments = vec![now(&card)?];
            self.step(task, || {
                moments.push(now(&card)?);
                Ok(())
            })?;
            let part = |i: usize| (moments[i + 1] - moments[i]).as_secs_f64() * 1e3;
            parts.push([part(0), part(1), part(2)]);
        }
        let peak = memory(&card)?.peak as f64 / 1e6;
        let start = now(&card)?;
        for _ in 0..task.steps {
            self.step(task, || Ok(()))?;
        }
        let step = (now(&card)? - start).as_secs_f64() * 1e3 / task.steps as f64;
        let of = |i: usize| median(parts.iter().map(|parts| parts[i]));
        Ok(Times { forward: of(0), backward: of(1), update: of(2), step, peak })
    }

    /// Milliseconds of forward and backward as one graph of launches, which the driver replays: what the host's part of
    /// them costs shows in the difference. No optimizer can use the gradients of a replay.
    pub(crate) fn replayed(&mut self, task: &Task) -> Result<f64> {
        let card = task.input.device().clone();
        let stream = card.as_cuda_device()?.cuda_stream();
        let wrap = |error: DriverError| candle_core::Error::wrap(error);
        let pass = || -> Result<()> {
            let mut stages = self.net.stages.iter();
            let scores = stages.try_fold(task.input.clone(), |xs, stage| stage.forward(&xs))?;
            let scores = scores.flatten_to(scores.rank() - 2)?;
            freeze_core::backward_once(&nn::cross_entropy(&scores, &task.targets, None)?).map(drop)
        };
        pass()?;
        card.synchronize()?;
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        stream.begin_capture(mode).map_err(wrap)?;
        let captured = pass();
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = stream.end_capture(flags).map_err(wrap);
        captured?;
        let Some(graph) = graph? else { candle_core::bail!("nothing was captured") };
        for _ in 0..3 {
            graph.launch().map_err(wrap)?;
        }
        let start = now(&card)?;
        for _ in 0..task.steps {
            graph.launch().map_err(wrap)?;
        }
        Ok((now(&card)? - start).as_secs_f64() * 1e3 / task.steps as f64)
    }

    fn step(&mut self, task: &Task, mut after_part: impl FnMut() -> Result<()>) -> Result<()> {
        let (input, stages) = match &self.cached {
            Some(cached) => (cached, &self.net.stages[self.frozen..]),
            None => (&task.input, &self.net.stages[..]),
        };
        let scores = stages.iter().try_fold(input.clone(), |xs, stage| stage.forward(&xs))?;
        let scores = scores.flatten_to(scores.rank() - 2)?;
        match &mut self.adam {
            Adam::Ours(adam) => {
                let loss = nn::cross_entropy(&scores, &task.targets, None)?;
                after_part()?;
                let grads = freeze_core::backward_once(&loss)?;
                after_part()?;
                adam.step(&grads)?;
            }
            Adam::Candles(adam) => {
                let loss = cross_entropy(&scores, &task.targets)?;
                after_part()?;
                let grads = loss.backward()?;
                after_part()?;
                adam.step(&grads)?;
            }
        }
        after_part()
    }
}

fn now(card: &Device) -> Result<Instant> {
    card.synchronize()?;
    Ok(Instant::now())
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Times {
    /// In the order of PyTorch's answers.
    pub(crate) fn of([forward, backward, update, step, peak]: [f64; 5]) -> Self {
        Self { forward, backward, update, step, peak }
    }

    pub(crate) fn median(turns: &[Self]) -> Self {
        let of = |part: fn(&Self) -> f64| median(turns.iter().map(part));
        Self {
            forward: of(|times| times.forward),
            backward: of(|times| times.backward),
            update: of(|times| times.update),
            step: of(|times| times.step),
            peak: of(|times| times.peak),
        }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { forward, backward, update, step, peak } = self;
        write!(f, "{forward:>8.3} {backward:>8.3} {update:>8.3} {step:>8.3} {peak:>8.0}")
    }
}
