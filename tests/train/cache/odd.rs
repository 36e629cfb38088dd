//! A staged model whose second stage does what a cache cannot keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, ModuleT, Result, Tensor};
use candle_nn::Module;
use freeze_core::cache::Shared;
use freeze_core::init::Seeded;
use freeze_core::nn::{BatchNorm, Dropout, Linear, batch_norm, linear};
use freeze_core::{Freezable, Staged};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Does {
    Nothing,
    Drops,
    DropsAsCandle,
    NormalisesByTheBatch,
    CentersTheBatch,
    Remembers,
    NeedsFour,
    AddsTheContext,
    Widens,
}

#[derive(Freezable)]
#[freeze(stages)]
pub struct Odd {
    pub stem: Linear,
    pub part: Part,
    pub head: Linear,
}

#[derive(Freezable)]
pub struct Part {
    pub norm: BatchNorm,
    pub dropout: Dropout,
    #[freeze(skip)]
    pub does: Does,
    #[freeze(skip)]
    pub calls: Arc<AtomicUsize>,
}

impl Odd {
    pub fn new(does: Does) -> Result<Self> {
        let vb = Seeded::builder(2, DType::F32, &Device::Cpu);
        Ok(Self {
            stem: linear(3, 4, vb.pp("stem"))?,
            part: Part {
                norm: batch_norm(4, 1e-5, vb.pp("norm"))?,
                dropout: Dropout::new(0.5, 1)?,
                does,
                calls: Arc::default(),
            },
            head: linear(4, 2, vb.pp("head"))?,
        })
    }
}

impl Staged for Odd {
    type Flow = Tensor;
    /// What each sample adds, and what all do.
    type Context = (Tensor, Shared);

    fn run(&self, stage: OddStage, xs: Tensor, (own, all): &(Tensor, Shared)) -> Result<Tensor> {
        let Part { norm, dropout, does, calls } = &self.part;
        match stage {
            OddStage::Stem => self.stem.forward(&xs),
            OddStage::Head if xs.rank() == 3 => self.head.forward(&xs.narrow(1, 0, 1)?.squeeze(1)?),
            OddStage::Head => self.head.forward(&xs),
            OddStage::Part => match does {
                Does::Nothing => Ok(xs),
                Does::Drops => dropout.forward(&xs, true),
                Does::DropsAsCandle => candle_nn::ops::dropout(&xs, 0.5),
                Does::NormalisesByTheBatch => norm.forward_t(&xs, true),
                Does::CentersTheBatch => xs.broadcast_sub(&xs.mean_keepdim(0)?),
                Does::Remembers => xs + calls.fetch_add(1, Ordering::Relaxed) as f64,
                Does::NeedsFour if xs.dim(0)? < 4 => candle_core::bail!("four are needed"),
                Does::NeedsFour => Ok(xs),
                // Costs nothing, since nothing is copied, and is large to store.
                Does::Widens => xs.unsqueeze(1)?.broadcast_as((xs.dim(0)?, 50_000, 4)),
                Does::AddsTheContext => xs.broadcast_add(own)?.broadcast_add(all),
            },
        }
    }
}

/// Four samples.
pub fn input() -> Result<Tensor> {
    let values: Vec<f32> = (0..12).map(|i| (i as f32 * 0.7).sin()).collect();
    Tensor::from_vec(values, (4, 3), &Device::Cpu)
}

/// What four samples see.
pub fn context() -> Result<(Tensor, Shared)> {
    let own = Tensor::new(&[[1f32], [2.], [3.], [4.]], &Device::Cpu)?;
    Ok((own, Shared(Tensor::new(&[[1f32, 2., 3., 4.]; 1], &Device::Cpu)?)))
}
