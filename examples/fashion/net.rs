//! A small convolutional network for 28 x 28 gray images.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};
use freeze_core::nn::ops::{avg_pool2d, flatten_from, relu};
use freeze_core::nn::{Conv2d, Conv2dConfig, Linear, conv2d, linear};
use freeze_core::{Freezable, Staged};

/// Four convolutions and a linear layer: five leaves, in the order in which they are declared.
#[derive(Freezable)]
#[freeze(stages)]
pub(crate) struct Net {
    conv1: Conv2d,
    conv2: Conv2d,
    conv3: Conv2d,
    conv4: Conv2d,
    head: Linear,
}

impl Net {
    pub(crate) fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let same = Conv2dConfig { padding: 1, ..Default::default() };
        Ok(Self {
            conv1: conv2d(1, 8, 3, same, vb.pp("conv1"))?,
            conv2: conv2d(8, 16, 3, same, vb.pp("conv2"))?,
            conv3: conv2d(16, 32, 3, same, vb.pp("conv3"))?,
            conv4: conv2d(32, 32, 3, same, vb.pp("conv4"))?,
            head: linear(32 * 7 * 7, 10, vb.pp("head"))?,
        })
    }
}

/// From images [n, 1, 28, 28] to scores [n, 10], layer by layer.
impl Staged for Net {
    type Flow = Tensor;
    type Context = ();

    fn run(&self, stage: NetStage, x: Tensor, (): &()) -> Result<Tensor> {
        match stage {
            NetStage::Conv1 => avg_pool2d(&relu(&self.conv1.forward(&x)?)?, 2),
            NetStage::Conv2 => avg_pool2d(&relu(&self.conv2.forward(&x)?)?, 2),
            NetStage::Conv3 => relu(&self.conv3.forward(&x)?),
            NetStage::Conv4 => relu(&self.conv4.forward(&x)?),
            NetStage::Head => self.head.forward(&flatten_from(&x, 1)?),
        }
    }
}

impl Module for Net {
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        Staged::forward(self, images.clone(), &())
    }
}
