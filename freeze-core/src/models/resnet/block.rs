//! The two kinds of residual blocks.

use candle_core::{Module, ModuleT, Result, Tensor};
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use candle_nn::{Conv2dConfig, Init, VarBuilder};

use super::config::{Config, LayerType};
use crate::nn::{BatchNorm, Conv2d, batch_norm};

/// Added to the variances.
pub(super) const EPS: f64 = 1e-5;

/// Convolutions and what goes around them.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(crate = "crate")]
pub(super) enum Block {
    Basic {
        conv1: Conv2d,
        bn1: BatchNorm,
        conv2: Conv2d,
        bn2: BatchNorm,
        downsample: Option<(Conv2d, BatchNorm)>,
    },
    Bottleneck {
        conv1: Conv2d,
        bn1: BatchNorm,
        conv2: Conv2d,
        bn2: BatchNorm,
        conv3: Conv2d,
        bn3: BatchNorm,
        downsample: Option<(Conv2d, BatchNorm)>,
    },
}

impl Block {
    /// A block from `inputs` to `outputs` channels, whose image is `stride` times smaller.
    pub(super) fn new(
        config: &Config,
        (inputs, outputs, stride): (usize, usize, usize),
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let norm = |channels, name: &str| batch_norm(channels, EPS, vb.pp(name));
        let downsample = match stride != 1 || inputs != outputs {
            true => {
                let conv = conv((inputs, outputs), 1, stride, vb.pp("downsample.0"))?;
                Some((conv, norm(outputs, "downsample.1")?))
            }
            false => None,
        };
        Ok(match config.layer_type {
            LayerType::Basic => Self::Basic {
                conv1: conv((inputs, outputs), 3, stride, vb.pp("conv1"))?,
                bn1: norm(outputs, "bn1")?,
                conv2: conv((outputs, outputs), 3, 1, vb.pp("conv2"))?,
                bn2: norm(outputs, "bn2")?,
                downsample,
            },
            LayerType::Bottleneck => {
                let inner = outputs / 4;
                let [first, second] =
                    if config.downsample_in_bottleneck { [stride, 1] } else { [1, stride] };
                Self::Bottleneck {
                    conv1: conv((inputs, inner), 1, first, vb.pp("conv1"))?,
                    bn1: norm(inner, "bn1")?,
                    conv2: conv((inner, inner), 3, second, vb.pp("conv2"))?,
                    bn2: norm(inner, "bn2")?,
                    conv3: conv((inner, outputs), 1, 1, vb.pp("conv3"))?,
                    bn3: norm(outputs, "bn3")?,
                    downsample,
                }
            }
        })
    }

    pub(super) fn forward(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        match self {
            Self::Basic { conv1, bn1, conv2, bn2, downsample } => {
                let ys = bn1.forward_relu(&conv1.forward(xs)?, train)?;
                bn2.forward_add_relu(&conv2.forward(&ys)?, &around(downsample, xs, train)?, train)
            }
            Self::Bottleneck { conv1, bn1, conv2, bn2, conv3, bn3, downsample } => {
                let ys = bn1.forward_relu(&conv1.forward(xs)?, train)?;
                let ys = bn2.forward_relu(&conv2.forward(&ys)?, train)?;
                bn3.forward_add_relu(&conv3.forward(&ys)?, &around(downsample, xs, train)?, train)
            }
        }
    }
}

/// What is added to a block's result.
fn around(downsample: &Option<(Conv2d, BatchNorm)>, xs: &Tensor, train: bool) -> Result<Tensor> {
    match downsample {
        Some((conv, norm)) => norm.forward_t(&conv.forward(xs)?, train),
        None => Ok(xs.clone()),
    }
}

/// A convolution without a bias that keeps the image's size, up to the stride. Fresh weights are those of He et al.
/// (2015, arXiv:1502.01852), by the number of outputs.
pub(super) fn conv(
    (inputs, outputs): (usize, usize),
    kernel: usize,
    stride: usize,
    vb: VarBuilder<'_>,
) -> Result<Conv2d> {
    let init = Init::Kaiming {
        dist: NormalOrUniform::Normal,
        fan: FanInOut::FanOut,
        non_linearity: NonLinearity::ReLU,
    };
    let weight = vb.get_with_hints((outputs, inputs, kernel, kernel), "weight", init)?;
    let config = Conv2dConfig { stride, padding: kernel / 2, ..Default::default() };
    Ok(Conv2d::new(weight, None, config))
}
