//! (ii) A small residual network with batch norm, as for CIFAR-10 (He et al., 2015, with n = 2).

use candle_core::{D, Module, ModuleT, Result, Tensor};
use candle_nn::{Conv2dConfig, VarBuilder};
use freeze_core::{Freezable, nn};

use super::kit::{Kit, Ours, Stock};

/// Layers over images.
pub(crate) trait ImageKit: Kit {
    type Conv: Freezable + Module;
    type Norm: Freezable + ModuleT;

    fn conv(sizes: [usize; 3], config: Conv2dConfig, vb: VarBuilder<'_>) -> Result<Self::Conv>;
    fn norm(channels: usize, vb: VarBuilder<'_>) -> Result<Self::Norm>;
    fn relu(xs: &Tensor) -> Result<Tensor>;
    /// `relu(norm(xs))`.
    fn norm_relu(norm: &Self::Norm, xs: &Tensor) -> Result<Tensor>;
    /// `relu(norm(xs) + residual)`.
    fn norm_add_relu(norm: &Self::Norm, xs: &Tensor, residual: &Tensor) -> Result<Tensor>;
    /// The mean of each channel of `[n, c, h, w]`: `[n, c]`.
    fn means(xs: &Tensor) -> Result<Tensor>;
}

impl ImageKit for Ours {
    type Conv = nn::Conv2d;
    type Norm = nn::BatchNorm;

    fn conv(
        [inputs, outputs, kernel]: [usize; 3],
        config: Conv2dConfig,
        vb: VarBuilder<'_>,
    ) -> Result<Self::Conv> {
        nn::conv2d_no_bias(inputs, outputs, kernel, config, vb)
    }

    fn norm(channels: usize, vb: VarBuilder<'_>) -> Result<Self::Norm> {
        nn::batch_norm(channels, 1e-5, vb)
    }

    fn relu(xs: &Tensor) -> Result<Tensor> {
        nn::ops::relu(xs)
    }

    fn norm_relu(norm: &Self::Norm, xs: &Tensor) -> Result<Tensor> {
        norm.forward_relu(xs, true)
    }

    fn norm_add_relu(norm: &Self::Norm, xs: &Tensor, residual: &Tensor) -> Result<Tensor> {
        norm.forward_add_relu(xs, residual, true)
    }

    fn means(xs: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = xs.dims4()?;
        nn::ops::avg_pool2d(xs, (height, width))?.flatten_from(1)
    }
}

impl ImageKit for Stock {
    type Conv = candle_nn::Conv2d;
    type Norm = candle_nn::BatchNorm;

    fn conv(
        [inputs, outputs, kernel]: [usize; 3],
        config: Conv2dConfig,
        vb: VarBuilder<'_>,
    ) -> Result<Self::Conv> {
        candle_nn::conv2d_no_bias(inputs, outputs, kernel, config, vb)
    }

    fn norm(channels: usize, vb: VarBuilder<'_>) -> Result<Self::Norm> {
        candle_nn::batch_norm(channels, 1e-5, vb)
    }

    fn relu(xs: &Tensor) -> Result<Tensor> {
        xs.relu()
    }

    fn norm_relu(norm: &Self::Norm, xs: &Tensor) -> Result<Tensor> {
        norm.forward_t(xs, true)?.relu()
    }

    fn norm_add_relu(norm: &Self::Norm, xs: &Tensor, residual: &Tensor) -> Result<Tensor> {
        (norm.forward_t(xs, true)? + residual)?.relu()
    }

    fn means(xs: &Tensor) -> Result<Tensor> {
        xs.flatten_from(2)?.mean(D::Minus1)
    }
}

/// The number of stages: a stem, six blocks and a head.
pub(crate) const STAGES: usize = 8;
/// The number of classes.
pub(crate) const CLASSES: usize = 10;

/// A convolution and its batch norm.
#[derive(Freezable)]
pub(crate) struct Step<K: ImageKit> {
    conv: K::Conv,
    norm: K::Norm,
}

/// Two convolutions and a shortcut around them.
#[derive(Freezable)]
pub(crate) struct Block<K: ImageKit> {
    first: Step<K>,
    second: Step<K>,
    shortcut: Option<Step<K>>,
}

/// One part of the network.
#[derive(Freezable)]
pub(crate) enum Stage<K: ImageKit> {
    Stem(Step<K>),
    Block(Block<K>),
    Head(K::Linear),
}

/// The part at `index`: 16 channels in the first two blocks, 32 at half the resolution in the next
/// two, 64 at a quarter in the last.
pub(crate) fn stage<K: ImageKit>(index: usize, vb: VarBuilder<'_>) -> Result<Stage<K>> {
    let channels = |index: usize| 16 << (index.saturating_sub(1) / 2);
    match index {
        0 => Step::new([3, 16, 3], 1, vb).map(Stage::Stem),
        7 => K::linear(channels(6), CLASSES, vb).map(Stage::Head),
        _ => Block::new(channels(index - 1), channels(index), vb).map(Stage::Block),
    }
}

impl<K: ImageKit> Step<K> {
    fn new(sizes: [usize; 3], stride: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let config = Conv2dConfig { padding: sizes[2] / 2, stride, ..Default::default() };
        let conv = K::conv(sizes, config, vb.pp("conv"))?;
        Ok(Self { conv, norm: K::norm(sizes[1], vb.pp("norm"))? })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.norm.forward_t(&self.conv.forward(xs)?, true)
    }

    fn relu(&self, xs: &Tensor) -> Result<Tensor> {
        K::norm_relu(&self.norm, &self.conv.forward(xs)?)
    }

    fn add_relu(&self, xs: &Tensor, residual: &Tensor) -> Result<Tensor> {
        K::norm_add_relu(&self.norm, &self.conv.forward(xs)?, residual)
    }
}

impl<K: ImageKit> Block<K> {
    fn new(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let widens = inputs != outputs;
        let stride = if widens { 2 } else { 1 };
        let shortcut = || Step::new([inputs, outputs, 1], stride, vb.pp("shortcut"));
        Ok(Self {
            first: Step::new([inputs, outputs, 3], stride, vb.pp("first"))?,
            second: Step::new([outputs, outputs, 3], 1, vb.pp("second"))?,
            shortcut: widens.then(shortcut).transpose()?,
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let ys = self.first.relu(xs)?;
        match &self.shortcut {
            None => self.second.add_relu(&ys, xs),
            Some(shortcut) => self.second.add_relu(&ys, &shortcut.forward(xs)?),
        }
    }
}

impl<K: ImageKit> Module for Stage<K> {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Stem(step) => step.relu(xs),
            Self::Block(block) => block.forward(xs),
            Self::Head(linear) => linear.forward(&K::means(xs)?),
        }
    }
}
