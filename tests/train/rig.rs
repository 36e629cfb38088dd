//! A model, its data, and a run of them.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, ModuleT, Result, Tensor};
use candle_nn::{Linear, Module, ParamsAdamW, VarBuilder, linear, loss::cross_entropy};
use freeze_core::init::Seeded;
use freeze_core::nn::{BatchNorm, Dropout, batch_norm};
use freeze_core::optim::{AdamW, GradClip, lr};
use freeze_core::{Epoch, Freezable, LayerFreezing, Training};
use proptest::test_runner::{Config, FileFailurePersistence};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub const EPOCHS: usize = 4;
pub const BATCHES: usize = 5;
pub const SAMPLES: usize = 18;
pub const SIZE: usize = 4;

/// Five leaves, a dropout.
#[derive(Freezable)]
pub struct Net {
    pub stem: Linear,
    pub norm: BatchNorm,
    pub body: Vec<Linear>,
    pub dropout: Dropout,
    pub head: Linear,
}

impl Net {
    pub fn new(seed: u64) -> Result<Self> {
        let vb: VarBuilder<'_> = Seeded::builder(seed, DType::F32, &Device::Cpu);
        Ok(Self {
            stem: linear(5, 8, vb.pp("stem"))?,
            norm: batch_norm(8, 1e-5, vb.pp("norm"))?,
            body: vec![linear(8, 8, vb.pp("body.0"))?, linear(8, 8, vb.pp("body.1"))?],
            dropout: Dropout::new(0.2, seed)?,
            head: linear(8, 3, vb.pp("head"))?,
        })
    }
}

impl ModuleT for Net {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let mut xs = self.norm.forward_t(&self.stem.forward(xs)?, train)?;
        for layer in &self.body {
            xs = layer.forward(&xs)?.gelu()?;
        }
        self.head.forward(&self.dropout.forward(&xs, train)?)
    }
}

/// Samples [18, 5] and their classes [18].
pub fn data() -> Result<(Tensor, Tensor)> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let xs: Vec<f32> = (0..SAMPLES * 5).map(|_| rng.random_range(-1.0..1.0)).collect();
    let ys: Vec<u32> = (0..SAMPLES).map(|_| rng.random_range(0..3)).collect();
    Ok((Tensor::from_vec(xs, (SAMPLES, 5), &Device::Cpu)?, Tensor::new(ys, &Device::Cpu)?))
}

/// Some of the samples.
pub fn batch(which: &[u32]) -> Result<(Tensor, Tensor)> {
    let ((xs, ys), which) = (data()?, Tensor::new(which, &Device::Cpu)?);
    Ok((xs.index_select(&which, 0)?, ys.index_select(&which, 0)?))
}

/// A run with everything: two optimizers, a schedule between steps, accumulation, clipping, a
/// warm-up, a generator of the user's that adds noise.
pub struct Rig {
    pub run: Training<Net>,
    pub noise: Arc<Mutex<ChaCha8Rng>>,
}

pub fn params() -> ParamsAdamW {
    ParamsAdamW { lr: 0.02, ..Default::default() }
}

impl Rig {
    pub fn new(seed: u64) -> freeze_core::Result<Self> {
        let noise = Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed)));
        let run = Training::new(Net::new(seed)?)?
            .optimizer_for("body.**", |vars| AdamW::with_names(vars, params()))?
            .optimizer(|vars| AdamW::with_names(vars, params()))?
            .policy(LayerFreezing::new(0.2, 1.0)?.every_steps(2)?)
            .rate(lr::warmup(0.3, lr::cosine(0.1)?)?)
            .clip(GradClip::Norm(0.5))?
            .accumulate(2)?
            .seed(seed)
            .random("noise", Arc::clone(&noise))
            .length(EPOCHS, BATCHES)?;
        Ok(Self { run, noise })
    }

    /// One batch.
    pub fn step(&mut self, which: &[u32]) -> freeze_core::Result<freeze_core::train::Step> {
        let (xs, ys) = batch(which)?;
        let noise = self.noise.lock().expect("no panic").random_range(-0.1..0.1);
        let scores = self.run.model().forward_t(&(xs + noise)?, true)?;
        self.run.step(&cross_entropy(&scores, &ys)?)
    }

    /// Goes on to the end; `after` is called after every batch and may end it before.
    pub fn go_on(
        &mut self,
        mut after: impl FnMut(&mut Self) -> freeze_core::Result<bool>,
    ) -> freeze_core::Result<()> {
        while let Some(epoch) = self.run.next_epoch()? {
            for which in epoch.shuffled(SAMPLES, SIZE) {
                self.step(&which)?;
                if !after(self)? {
                    return Ok(());
                }
            }
            self.run.epoch_end([("valid/loss", valid(&self.run)?)])?;
        }
        Ok(())
    }
}

pub fn valid(run: &Training<Net>) -> freeze_core::Result<f64> {
    let (xs, ys) = data()?;
    let loss = run.evaluate(|net| {
        cross_entropy(&net.forward_t(&xs, false)?, &ys)?.to_dtype(DType::F64)?.to_scalar::<f64>()
    })?;
    Ok(loss)
}

/// A plain run of stock settings.
pub fn plain() -> freeze_core::Result<Training<Net>> {
    Training::new(Net::new(1)?)?
        .optimizer(|vars| AdamW::with_names(vars, params()))?
        .length(EPOCHS, BATCHES)
}

/// Drives every epoch by the stock loss.
pub fn drive(run: &mut Training<Net>) -> freeze_core::Result<()> {
    while let Some(epoch) = run.next_epoch()? {
        drive_epoch(run, &epoch)?;
        run.epoch_end([])?;
    }
    Ok(())
}

pub fn drive_epoch(run: &mut Training<Net>, epoch: &Epoch) -> freeze_core::Result<()> {
    for which in epoch.shuffled(SAMPLES, SIZE) {
        let loss = loss(run, &which)?;
        run.step(&loss)?;
    }
    Ok(())
}

pub fn loss(run: &Training<Net>, which: &[u32]) -> Result<Tensor> {
    let (xs, ys) = batch(which)?;
    cross_entropy(&run.model().forward_t(&xs, true)?, &ys)
}

/// Every tensor of the model, bit for bit.
pub fn weights(run: &Training<Net>) -> Vec<(String, Vec<u32>)> {
    let tensors = run.freezer().whole().named_tensors().expect("tensors");
    let bits = |tensor: Tensor| -> Vec<u32> {
        let flat = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("numbers");
        flat.into_iter().map(f32::to_bits).collect()
    };
    tensors.into_iter().map(|(name, tensor)| (name, bits(tensor))).collect()
}

/// Says which tensor differs, and not all their numbers.
#[track_caller]
pub fn assert_same(left: &[(String, Vec<u32>)], right: &[(String, Vec<u32>)], context: &str) {
    assert_eq!(left.len(), right.len(), "{context}");
    for ((name, left), (other, right)) in left.iter().zip(right) {
        assert!(name == other && left == right, "{context}: `{name}` differs");
    }
}

/// As many random cases as `PROPTEST_CASES` says, or 48; the seeds of failures are kept in a file beside the test and
/// tried first.
pub fn random_cases(seeds: &'static str) -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    Config {
        cases: cases.unwrap_or(48),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(seeds))),
        ..Config::default()
    }
}
