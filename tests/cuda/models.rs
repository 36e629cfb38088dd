//! A small model on any device, its data, and a run of it.

use candle_core::{DType, Device, ModuleT, Result, Tensor};
use candle_nn::{Module, ParamsAdamW, VarBuilder};
use freeze_core::init::Seeded;
use freeze_core::nn::{self, BatchNorm, Dropout, Linear, batch_norm, linear};
use freeze_core::optim::{AdamW, GradClip};
use freeze_core::{Freezable, LayerFreezing, Training};

use crate::support::{flat, random};

pub const EPOCHS: usize = 4;
pub const BATCHES: usize = 3;

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
    pub fn new(seed: u64, device: &Device) -> Result<Self> {
        let vb: VarBuilder<'_> = Seeded::builder(seed, DType::F32, device);
        Ok(Self {
            stem: linear(5, 8, vb.pp("stem"))?,
            norm: batch_norm(8, 1e-5, vb.pp("norm"))?,
            body: vec![linear(8, 8, vb.pp("body.0"))?, linear(8, 8, vb.pp("body.1"))?],
            dropout: Dropout::new(0.2, seed).map_err(candle_core::Error::wrap)?,
            head: linear(8, 3, vb.pp("head"))?,
        })
    }
}

impl ModuleT for Net {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let mut xs = self.norm.forward_t(&self.stem.forward(xs)?, train)?;
        for layer in &self.body {
            xs = nn::ops::gelu(&layer.forward(&xs)?)?;
        }
        self.head.forward(&self.dropout.forward(&xs, train)?)
    }
}

/// The loss of one batch.
pub fn loss(net: &Net, batch: usize, device: &Device) -> Result<Tensor> {
    let xs = random(batch as u64, (6, 5), DType::F32).to_device(device)?;
    let ys = Tensor::new(&[0u32, 1, 2, 2, 1, 0], device)?;
    nn::cross_entropy(&net.forward_t(&xs, true)?, &ys, None)
}

/// A run that freezes on its way.
pub fn training(seed: u64, device: &Device) -> freeze_core::Result<Training<Net>> {
    let params = ParamsAdamW { lr: 0.02, ..Default::default() };
    Training::new(Net::new(seed, device)?)?
        .optimizer(|vars| AdamW::with_names(vars, params))?
        .policy(LayerFreezing::new(0.2, 1.0)?)
        .clip(GradClip::Norm(0.5))?
        .length(EPOCHS, BATCHES)
}

/// Runs epochs until `epochs` are done, and returns every loss.
pub fn go_on(
    run: &mut Training<Net>,
    epochs: usize,
    device: &Device,
) -> freeze_core::Result<Vec<f64>> {
    let mut losses = Vec::new();
    while run.elapsed().epoch < epochs && run.next_epoch()?.is_some() {
        for batch in 0..BATCHES {
            let loss = loss(run.model(), batch, device)?;
            losses.push(run.step(&loss)?.loss);
        }
        run.epoch_end([])?;
    }
    Ok(losses)
}

/// Every tensor of the model by name.
pub fn weights(run: &Training<Net>) -> Vec<(String, Vec<f64>)> {
    let tensors = run.freezer().whole().named_tensors().expect("tensors");
    tensors.into_iter().map(|(name, tensor)| (name, flat(&tensor))).collect()
}
