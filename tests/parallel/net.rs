//! A model, its data, and a run of them on a share of every batch.

use std::ops::Range;
use std::thread;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Module, VarBuilder, loss::mse};
use freeze_core::init::Seeded;
use freeze_core::nn::{Linear, linear};
use freeze_core::parallel::{Group, Threads};
use freeze_core::{Freezable, Training};

pub const EPOCHS: usize = 3;
pub const BATCHES: usize = 10;
/// Samples in a batch, over all ranks.
pub const SIZE: usize = 12;

#[derive(Freezable)]
pub struct Net {
    pub stem: Linear,
    pub body: Vec<Linear>,
    pub head: Linear,
}

impl Net {
    pub fn new(seed: u64, dtype: DType) -> Result<Self> {
        let vb: VarBuilder<'_> = Seeded::builder(seed, dtype, &Device::Cpu);
        Ok(Self {
            stem: linear(5, 8, vb.pp("stem"))?,
            body: vec![linear(8, 8, vb.pp("body.0"))?, linear(8, 8, vb.pp("body.1"))?],
            head: linear(8, 2, vb.pp("head"))?,
        })
    }
}

impl Module for Net {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut xs = self.stem.forward(xs)?.tanh()?;
        for layer in &self.body {
            xs = layer.forward(&xs)?.tanh()?;
        }
        self.head.forward(&xs)
    }
}

/// Runs the same on every rank, each on a thread of its own; what each returned, by rank.
pub fn on_ranks<T: Send>(size: usize, run: impl Fn(Group) -> T + Sync) -> Vec<T> {
    let ranks = Threads::ranks(size).expect("at least one").into_iter();
    thread::scope(|scope| {
        let run = &run;
        let ranks: Vec<_> = ranks.map(|rank| scope.spawn(|| run(Group::new(rank)))).collect();
        ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
    })
}

/// The samples of a batch that a rank takes, of as many as there are.
pub fn share(rank: usize, size: usize, samples: usize) -> Range<usize> {
    samples * rank / size..samples * (rank + 1) / size
}

/// The loss of some samples of a batch.
pub fn loss(run: &Training<Net>, batch: usize, which: Range<usize>) -> Result<Tensor> {
    let dtype = run.model().stem.weight().dtype();
    let number = |sample: usize, at: usize| {
        let seed = (batch * SIZE + sample) * 7 + at;
        (seed as f64 * 0.7).sin()
    };
    let rows = which.len();
    let xs: Vec<f64> = which.clone().flat_map(|i| (0..5).map(move |at| number(i, at))).collect();
    let ys: Vec<f64> = which.flat_map(|i| (5..7).map(move |at| number(i, at))).collect();
    let xs = Tensor::from_vec(xs, (rows, 5), &Device::Cpu)?.to_dtype(dtype)?;
    let ys = Tensor::from_vec(ys, (rows, 2), &Device::Cpu)?.to_dtype(dtype)?;
    mse(&run.model().forward(&xs)?, &ys)
}

/// Goes on to the end, or until `after` says so; the losses.
pub fn drive(
    run: &mut Training<Net>,
    mut after: impl FnMut(&mut Training<Net>) -> freeze_core::Result<bool>,
) -> freeze_core::Result<Vec<f64>> {
    let (rank, size) = run.group().map_or((0, 1), |group| (group.rank(), group.size()));
    let mut losses = Vec::new();
    while let Some(epoch) = run.next_epoch()? {
        for batch in epoch.remaining(0..BATCHES) {
            let which = share(rank, size, SIZE);
            let loss = loss(run, epoch.index * BATCHES + batch, which.clone())?;
            losses.push(run.step_of(&loss, which.len())?.loss);
            if !after(run)? {
                return Ok(losses);
            }
        }
        losses.push(run.epoch_end([("rank", rank as f64)])?.loss);
    }
    Ok(losses)
}

/// Every number of the model.
pub fn weights(run: &Training<Net>) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for (_, tensor) in run.freezer().whole().named_tensors()? {
        all.extend(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?);
    }
    Ok(all)
}

/// The largest difference, relative to numbers above 1.
pub fn distance(left: &[f64], right: &[f64]) -> f64 {
    assert_eq!(left.len(), right.len());
    let apart = |(a, b): (&f64, &f64)| (a - b).abs() / a.abs().max(1.0);
    left.iter().zip(right).map(apart).fold(0.0, f64::max)
}
