//! A staged model that counts what it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Module, ParamsAdamW, loss::cross_entropy};
use freeze_core::init::Seeded;
use freeze_core::nn::{Dropout, Linear, linear};
use freeze_core::optim::AdamW;
use freeze_core::{Freezable, Staged, Training};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub const SAMPLES: usize = 22;
pub const SIZE: usize = 4;
pub const BATCHES: usize = SAMPLES.div_ceil(SIZE);

/// Five leaves; a dropout of no leaf's in front of the head, which is on.
#[derive(Freezable)]
#[freeze(stages)]
pub struct Net {
    pub stem: Linear,
    pub blocks: Vec<Linear>,
    pub dropout: Dropout,
    pub head: Linear,
    /// A setting that no fingerprint shows.
    #[freeze(skip)]
    pub bend: f64,
    #[freeze(skip)]
    pub runs: Runs,
}

/// How many samples each stage ran.
#[derive(Clone, Default)]
pub struct Runs(Arc<Mutex<BTreeMap<String, usize>>>);

impl Runs {
    pub fn of(&self, stage: &str) -> usize {
        self.0.lock().expect("no panic").get(stage).copied().unwrap_or(0)
    }

    /// What each stage ran since this was asked last, in the order of their paths.
    pub fn take(&self) -> Vec<(String, usize)> {
        std::mem::take(&mut *self.0.lock().expect("no panic")).into_iter().collect()
    }

    pub fn ran(&self, stage: &str, samples: usize) {
        *self.0.lock().expect("no panic").entry(stage.to_string()).or_default() += samples;
    }
}

impl Net {
    pub fn new(seed: u64) -> Result<Self> {
        let vb = Seeded::builder(seed, DType::F32, &Device::Cpu);
        // The widths of what flows between them: 8, 6, 6, 8.
        let blocks = [(8, 6), (6, 6), (6, 8)].into_iter().enumerate();
        let block = |(i, (from, to))| linear(from, to, vb.pp(format!("blocks.{i}")));
        Ok(Self {
            stem: linear(5, 8, vb.pp("stem"))?,
            blocks: blocks.map(block).collect::<Result<_>>()?,
            dropout: Dropout::new(0.2, seed)?,
            head: linear(8, 3, vb.pp("head"))?,
            bend: 1.0,
            runs: Runs::default(),
        })
    }
}

impl Staged for Net {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, xs: Tensor, (): &()) -> Result<Tensor> {
        self.runs.ran(&stage.to_string(), xs.dim(0)?);
        match stage {
            NetStage::Stem => (self.stem.forward(&xs)? * self.bend)?.tanh(),
            NetStage::Blocks(i) => self.blocks[i].forward(&xs)?.tanh(),
            NetStage::Dropout => self.dropout.forward(&xs, true),
            NetStage::Head => self.head.forward(&xs),
        }
    }
}

/// Samples [22, 5] and their classes [22].
pub fn data() -> Result<(Tensor, Tensor)> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let xs: Vec<f32> = (0..SAMPLES * 5).map(|_| rng.random_range(-1.0..1.0)).collect();
    let ys: Vec<u32> = (0..SAMPLES).map(|_| rng.random_range(0..3)).collect();
    Ok((Tensor::from_vec(xs, (SAMPLES, 5), &Device::Cpu)?, Tensor::new(ys, &Device::Cpu)?))
}

/// Some samples: their keys, inputs and classes.
pub fn batch(which: &[u32]) -> Result<(Vec<u64>, Tensor, Tensor)> {
    let keys = which.iter().map(|&i| 1000 + u64::from(i)).collect();
    let ((xs, ys), which) = (data()?, Tensor::new(which, &Device::Cpu)?);
    Ok((keys, xs.index_select(&which, 0)?, ys.index_select(&which, 0)?))
}

/// The bits of a tensor's numbers.
pub fn bits(tensor: &Tensor) -> Vec<u32> {
    let numbers = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("numbers");
    numbers.into_iter().map(f32::to_bits).collect()
}

pub fn params() -> ParamsAdamW {
    ParamsAdamW { lr: 0.02, ..Default::default() }
}

/// A run of five epochs without an optimizer.
pub fn bare() -> freeze_core::Result<Training<Net>> {
    Training::new(Net::new(1)?)?.seed(3).length(5, BATCHES)
}

pub fn run() -> freeze_core::Result<Training<Net>> {
    bare()?.optimizer(|vars| AdamW::with_names(vars, params()))
}

/// The bits of every loss and, at the end, of every tensor.
pub type Course = (Vec<u64>, Vec<(String, Vec<u32>)>);

/// Drives a run to its end; `between` is called after each epoch.
pub fn course(
    run: &mut Training<Net>,
    mut between: impl FnMut(&mut Training<Net>, usize) -> freeze_core::Result<()>,
) -> freeze_core::Result<Course> {
    let mut losses = Vec::new();
    while let Some(epoch) = run.next_epoch()? {
        for which in epoch.shuffled(SAMPLES, SIZE) {
            let (keys, xs, ys) = batch(&which)?;
            let scores = run.forward(&keys, xs, &())?;
            losses.push(run.step(&cross_entropy(&scores, &ys)?)?.loss.to_bits());
        }
        run.epoch_end([])?;
        between(run, epoch.index)?;
    }
    let tensors = run.freezer().named_tensors()?.into_iter();
    Ok((losses, tensors.map(|(name, tensor)| (name, bits(&tensor))).collect()))
}
