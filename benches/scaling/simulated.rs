//! Runs whose computing and sending are sleep: ranks are threads, and two cores are enough for many.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use candle_core::Result as Candle;
use candle_core::backend::BackendStorage as _;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Module, Shape, Tensor};
use candle_nn::{ParamsAdamW, VarBuilder};
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear};
use freeze_core::optim::AdamW;
use freeze_core::parallel::{Collective, Group, Numbers, Parallel, Threads};
use freeze_core::{Freezable, Result, Training};

use crate::clock::median;
use crate::model::{Exchange, Layer};

const WIDTH: usize = 32;
const STEPS: usize = 9;

/// A layer that takes as long as one is said to.
#[derive(Freezable)]
struct Slow {
    linear: Linear,
    #[freeze(skip)]
    sleeps: Sleeps,
}

#[derive(Clone, Copy)]
struct Sleeps {
    forward: f64,
    backward: f64,
}

#[derive(Freezable)]
struct Net {
    layers: Vec<Slow>,
}

impl Module for Net {
    fn forward(&self, xs: &Tensor) -> Candle<Tensor> {
        let layer = |xs: Tensor, layer: &Slow| layer.linear.forward(&xs)?.apply_op1(layer.sleeps);
        self.layers.iter().try_fold(xs.clone(), layer)
    }
}

impl CustomOp1 for Sleeps {
    fn name(&self) -> &'static str {
        "sleeps"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Candle<(CpuStorage, Shape)> {
        sleep(Duration::from_secs_f64(self.forward));
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Candle<Option<Tensor>> {
        sleep(Duration::from_secs_f64(self.backward));
        Ok(Some(grad.clone()))
    }
}

/// Ranks whose calls take as long as the network would.
#[derive(Debug)]
struct Delayed {
    ranks: Threads,
    exchange: Exchange,
}

impl Collective for Delayed {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn size(&self) -> usize {
        self.ranks.size()
    }

    fn all_reduce(&self, numbers: Numbers<'_>) -> Result<()> {
        let bytes = numbers.bytes() as f64;
        self.ranks.all_reduce(numbers)?;
        let Exchange { sum, ranks, network, .. } = self.exchange;
        sleep(Duration::from_secs_f64(sum.time(bytes, ranks, network)));
        Ok(())
    }

    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()> {
        self.ranks.broadcast(bytes, root)
    }

    fn all_gather(&self, bytes: &[u8], all: &mut [u8]) -> Result<()> {
        self.ranks.all_gather(bytes, all)?;
        sleep(Duration::from_secs_f64(self.exchange.agree()));
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        self.ranks.barrier()
    }
}

/// Bytes of a layer's gradients here.
pub(crate) fn bytes() -> f64 {
    (4 * WIDTH * (WIDTH + 1)) as f64
}

/// The median seconds of a step of rank 0.
pub(crate) fn step(exchange: &Exchange, layers: &[Layer], frozen: usize) -> Result<f64> {
    let run = |ranks: Threads| -> Result<f64> {
        let group = Group::new(Delayed { ranks, exchange: *exchange });
        let ranks = Parallel::new(group.clone());
        let ranks = match exchange.bucket {
            Some(bytes) => ranks.within_backward(bytes as usize)?,
            None => ranks,
        };
        let vb: VarBuilder<'_> = Seeded::builder(1, DType::F32, &Device::Cpu);
        let layer = |(index, layer): (usize, &Layer)| -> Candle<Slow> {
            let &Layer { forward, backward, .. } = layer;
            let linear = linear(WIDTH, WIDTH, vb.pp(index))?;
            Ok(Slow { linear, sleeps: Sleeps { forward, backward } })
        };
        let layers = layers.iter().enumerate().map(layer).collect::<Candle<_>>()?;
        let mut run = Training::new(Net { layers })?
            .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
            .parallel(ranks)
            .length(1, 1_000)?;
        run.freeze_front(frozen)?;
        run.next_epoch()?;
        let xs = Tensor::ones((1, WIDTH), DType::F32, &Device::Cpu)?;
        let mut times = Vec::new();
        for step in 0..STEPS + 2 {
            group.sum("the beginning of a step", Numbers::F32(&mut [0.0]))?;
            let start = Instant::now();
            let loss = run.model().forward(&xs)?.sqr()?.mean_all()?;
            run.step(&loss)?;
            if step > 1 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
        Ok(median(times))
    };
    thread::scope(|scope| {
        let ranks = Threads::ranks(exchange.ranks)?.into_iter();
        let ranks: Vec<_> = ranks.map(|rank| scope.spawn(|| run(rank))).collect();
        let ended: Vec<Result<f64>> =
            ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect();
        Ok(ended.into_iter().collect::<Result<Vec<f64>>>()?[0])
    })
}
