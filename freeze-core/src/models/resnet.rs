//! ResNet (He et al., 2015, arXiv:1512.03385): 18, 34, 50, 101 and 152, with the tensor names of torchvision and
//! timm; [`load_pretrained`](crate::models::load_pretrained) also knows those of `transformers`
//! ([`torchvision_name`]).
//!
//! The stages are `conv1`, `bn1` (with its rectifier and the pooling), each block of `layer1` to `layer4`, and
//! `fc` (with the mean over the image). Batch norms normalise by the batch where the context says so, and frozen
//! ones by [`BatchNormPolicy`](crate::BatchNormPolicy). `num_batches_tracked`, which files of PyTorch have, has no
//! counterpart: no forward reads it, and PyTorch loads files without it.
//!
//! ```
//! use candle_core::{DType, Device::Cpu, Tensor};
//! use freeze_core::{Freezer, Staged, init::Seeded};
//! use freeze_core::models::{ImageContext, resnet::{Config, ResNet}};
//!
//! let net = ResNet::new(&Config::resnet18(10), Seeded::builder(1, DType::F32, &Cpu))?;
//! assert_eq!(net.forward(Tensor::zeros((1, 3, 64, 64), DType::F32, &Cpu)?, &ImageContext::default())?.dims(), [1, 10]);
//! let mut net = Freezer::new(net)?;
//! net.freeze_front(net.leaf_before("layer3")?, &mut [])?;
//! let table = net.stage_summary()?.to_string();
//! // Without the lines between the rows.
//! let rows = table.lines().filter(|line| !line.starts_with(['─', '═']));
//! let shown: Vec<&str> = rows.map(str::trim_end).collect();
//! assert_eq!(format!("\n{}\n", shown.join("\n")), r#"
//!  stage      leaves   parameters   trained   state
//!  conv1           1         9408         0   frozen
//!  bn1             1          128         0   frozen
//!  layer1.0        4        73984         0   frozen
//!  layer1.1        4        73984         0   frozen
//!  layer2.0        6       230144         0   frozen
//!  layer2.1        4       295424         0   frozen
//!  layer3.0        6       919040    919040   trained
//!  layer3.1        4      1180672   1180672   trained
//!  layer4.0        6      3673088   3673088   trained
//!  layer4.1        4      4720640   4720640   trained
//!  fc              1         5130      5130   trained
//! 11 stages, of which the first 6 are the frozen front; `layer3.0` moves
//! "#);
//! # Ok::<(), freeze_core::Error>(())
//! ```

mod block;
mod config;
mod names;

use candle_core::{Module, Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};

use crate::model::Staged;
use crate::models::config::PretrainedConfig;
use crate::models::context::ImageContext;
use crate::models::stack::layer;
use crate::nn::{BatchNorm, Conv2d, Linear, batch_norm, ops};
use block::{Block, conv};
pub use config::{Config, LayerType};
pub use names::torchvision_name;

/// A classifier of images `[batch, channels, height, width]`: logits `[batch, labels]`.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(stages, crate = "crate")]
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    fc: Linear,
}

impl ResNet {
    /// Reads or creates the tensors of `vb`: `conv1.weight`, `layer1.0.bn1.running_mean`, `fc.bias`.
    ///
    /// # Errors
    ///
    /// A size of 0 or bottlenecks whose width is no multiple of 4; `vb` cannot give a tensor.
    pub fn new(config: &Config, vb: VarBuilder<'_>) -> crate::error::Result<Self> {
        config.check()?;
        let embedding = config.embedding_size;
        let layer = |index: usize| {
            let inputs = if index == 0 { embedding } else { config.hidden_sizes[index - 1] };
            let stride = if index > 0 || config.downsample_in_first_stage { 2 } else { 1 };
            let vb = vb.pp(format!("layer{}", index + 1));
            let block = |place: usize| match place {
                0 => Block::new(config, (inputs, config.hidden_sizes[index], stride), vb.pp(place)),
                _ => {
                    let width = config.hidden_sizes[index];
                    Block::new(config, (width, width, 1), vb.pp(place))
                }
            };
            (0..config.depths[index]).map(block).collect::<Result<Vec<_>>>()
        };
        let width = config.hidden_sizes[3];
        Ok(Self {
            conv1: conv((config.num_channels, embedding), 7, 2, vb.pp("conv1"))?,
            bn1: batch_norm(embedding, block::EPS, vb.pp("bn1"))?,
            layer1: layer(0)?,
            layer2: layer(1)?,
            layer3: layer(2)?,
            layer4: layer(3)?,
            fc: classifier(width, config.num_labels, vb.pp("fc"))?,
        })
    }
}

/// A linear layer with PyTorch's fresh weights.
fn classifier(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Linear> {
    let bound = 1.0 / (inputs as f64).sqrt();
    let init = Init::Uniform { lo: -bound, up: bound };
    let weight = vb.get_with_hints((outputs, inputs), "weight", init)?;
    Ok(Linear::new(weight, Some(vb.get_with_hints(outputs, "bias", init)?)))
}

/// The mean over the image, `[batch, channels]`.
fn mean(xs: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = xs.dims4()?;
    ops::flatten_from(&ops::avg_pool2d(xs, (height, width))?, 1)
}

impl Staged for ResNet {
    type Flow = Tensor;
    type Context = ImageContext;

    fn run(&self, stage: ResNetStage, xs: Tensor, context: &ImageContext) -> Result<Tensor> {
        let train = context.train;
        match stage {
            ResNetStage::Conv1 => {
                let channels = self.conv1.weight().dim(1)?;
                if xs.rank() != 4 || xs.dim(1)? != channels {
                    bail!(
                        "the images have shape {:?}, expected [batch, {channels}, height, width]",
                        xs.dims()
                    )
                }
                self.conv1.forward(&xs)
            }
            ResNetStage::Bn1 => {
                ops::max_pool2d_padded(&self.bn1.forward_relu(&xs, train)?, 3, 2, 1)
            }
            ResNetStage::Layer1(block) => layer(&self.layer1, block)?.forward(&xs, train),
            ResNetStage::Layer2(block) => layer(&self.layer2, block)?.forward(&xs, train),
            ResNetStage::Layer3(block) => layer(&self.layer3, block)?.forward(&xs, train),
            ResNetStage::Layer4(block) => layer(&self.layer4, block)?.forward(&xs, train),
            ResNetStage::Fc => self.fc.forward(&mean(&xs)?),
        }
    }
}
