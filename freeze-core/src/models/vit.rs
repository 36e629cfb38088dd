//! ViT (Dosovitskiy et al., 2020, arXiv:2010.11929), with the tensor names of the public files.
//!
//! An image is cut into patches, a class token goes in front of them, and the classifier reads the last state of
//! that token. Images of another size than the config's are refused.
//!
//! Each leaf has the name of a file's tensors. A model of one block, whose embeddings are frozen:
//!
//! ```
//! use candle_core::{DType, Device::Cpu, Tensor};
//! use freeze_core::{Freezer, Staged, init::Seeded};
//! use freeze_core::models::{ImageContext, PretrainedConfig, vit::{Config, ViTForImageClassification}};
//!
//! let config = Config::from_json(
//!     r#"{"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
//!         "image_size": 4, "patch_size": 2}"#,
//! )?;
//! let net = ViTForImageClassification::new(&config, 3, Seeded::builder(1, DType::F32, &Cpu))?;
//! let mut net = Freezer::new(net)?;
//! net.freeze_front(net.leaf_before("vit.encoder.layer.0")?, &mut [])?;
//! let images = Tensor::zeros((2, 3, 4, 4), DType::F32, &Cpu)?;
//! assert_eq!(net.forward(images, &ImageContext { train: true })?.dims(), [2, 3]);
//! let table = net.summary()?.to_string();
//! // Without the lines between the rows.
//! let rows = table.lines().filter(|line| !line.starts_with(['─', '═'])).skip(1);
//! let shown: Vec<&str> = rows.map(str::trim_end).collect();
//! assert_eq!(format!("\n{}\n", shown.join("\n")), r#"
//!   0   vit.embeddings.cls_token                        Tensor      [1, 1, 8]                      8   frozen
//!   1   vit.embeddings.patch_embeddings.projection      Conv2d      weight [8, 3, 2, 2]          104   frozen
//!                                                                   bias [8]
//!   2   vit.embeddings.position_embeddings              Tensor      [1, 5, 8]                     40   frozen
//!   3   vit.encoder.layer.0.layernorm_before            LayerNorm   weight [8]                    16   trained
//!                                                                   bias [8]
//!   4   vit.encoder.layer.0.attention.attention.query   Linear      weight [8, 8]                 72   trained
//!                                                                   bias [8]
//!   5   vit.encoder.layer.0.attention.attention.key     Linear      weight [8, 8]                 72   trained
//!                                                                   bias [8]
//!   6   vit.encoder.layer.0.attention.attention.value   Linear      weight [8, 8]                 72   trained
//!                                                                   bias [8]
//!   7   vit.encoder.layer.0.attention.output.dense      Linear      weight [8, 8]                 72   trained
//!                                                                   bias [8]
//!   8   vit.encoder.layer.0.layernorm_after             LayerNorm   weight [8]                    16   trained
//!                                                                   bias [8]
//!   9   vit.encoder.layer.0.intermediate.dense          Linear      weight [16, 8]               144   trained
//!                                                                   bias [16]
//!  10   vit.encoder.layer.0.output.dense                Linear      weight [8, 16]               136   trained
//!                                                                   bias [8]
//!  11   vit.layernorm                                   LayerNorm   weight [8]                    16   trained
//!                                                                   bias [8]
//!  12   classifier                                      Linear      weight [3, 8]                 27   trained
//!                                                                   bias [3]
//! 13 leaves, 795 parameters: 643 trained, 152 not
//! "#);
//! # Ok::<(), freeze_core::Error>(())
//! ```

mod layer;

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::activation::Activation;
use super::attention::check_heads;
use super::config::PretrainedConfig;
use super::context::ImageContext;
use super::fresh::{self, Dropouts};
use super::patches::{self, Embeddings, OtherImages, Sizes};
use super::stack::layer;
use crate::error::at_least_1;
use crate::model::Staged;
use crate::nn::{LayerNorm, Linear, layer_norm};
use layer::Layer;

/// What a ViT is made of: the fields of a `config.json` with `"model_type": "vit"`, whose defaults are those of
/// ViT-Base with patches of 16.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Config {
    /// The size of a token's state.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Heads of attention: a divisor of `hidden_size`.
    pub num_attention_heads: usize,
    /// The width between the two linear layers that end a block.
    pub intermediate_size: usize,
    /// The activation there.
    pub hidden_act: Activation,
    /// Added to variances.
    pub layer_norm_eps: f64,
    /// The side of an image.
    pub image_size: usize,
    /// The side of a patch: a divisor of `image_size`.
    pub patch_size: usize,
    /// Colours.
    pub num_channels: usize,
    /// Whether the layers of queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// The dropout of the embeddings and of what a block adds.
    pub hidden_dropout_prob: f64,
    /// The dropout of the probabilities of attention.
    pub attention_probs_dropout_prob: f64,
    /// The standard deviation of fresh weights.
    pub initializer_range: f64,
    /// What the generators of the dropouts are seeded with; no part of published files.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-12,
            image_size: 224,
            patch_size: 16,
            num_channels: 3,
            qkv_bias: true,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            initializer_range: 0.02,
            seed: 0,
        }
    }
}

impl PretrainedConfig for Config {
    const MODEL_TYPES: &'static [&'static str] = &["vit"];

    fn check(&self) -> crate::error::Result<()> {
        at_least_1("num_hidden_layers", self.num_hidden_layers)?;
        at_least_1("intermediate_size", self.intermediate_size)?;
        check_heads(
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
        )?;
        patches::check(self.num_channels, self.image_size, self.patch_size)
    }
}

/// The encoder: images `[batch, channels, height, width]` become the states of the class token and of all patches,
/// `[batch, 1 + patches, hidden]`.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(stages, crate = "crate")]
pub struct ViTModel {
    embeddings: Embeddings,
    #[freeze(rename = "encoder.layer")]
    layers: Vec<Layer>,
    layernorm: LayerNorm,
}

/// The encoder with a linear layer on the state of the class token: logits `[batch, labels]`.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(stages, crate = "crate")]
pub struct ViTForImageClassification {
    #[freeze(rename = "vit.embeddings")]
    embeddings: Embeddings,
    #[freeze(rename = "vit.encoder.layer")]
    layers: Vec<Layer>,
    #[freeze(rename = "vit.layernorm")]
    layernorm: LayerNorm,
    classifier: Linear,
}

impl ViTModel {
    /// Reads or creates the tensors of `vb`: `embeddings.cls_token`,
    /// `encoder.layer.0.attention.attention.query.weight`, `layernorm.bias`. A file's `pooler` is not read.
    ///
    /// # Errors
    ///
    /// A size of 0, heads that do not divide the hidden size, patches that do not divide the image, a dropout that
    /// is no probability below 1; `vb` cannot give a tensor.
    pub fn new(config: &Config, vb: VarBuilder<'_>) -> crate::error::Result<Self> {
        config.check()?;
        let sizes = Sizes {
            channels: config.num_channels,
            image: config.image_size,
            patch: config.patch_size,
            hidden: config.hidden_size,
            other_images: OtherImages::Refused,
        };
        let mut dropouts = Dropouts::new(config.seed);
        let dropout = dropouts.next(config.hidden_dropout_prob)?;
        let range = config.initializer_range;
        let embeddings = Embeddings::new(sizes, false, dropout, range, vb.pp("embeddings"))?;
        let mut layer = |i: usize| Layer::new(config, &mut dropouts, vb.pp("encoder.layer").pp(i));
        Ok(Self {
            embeddings,
            layers: (0..config.num_hidden_layers)
                .map(&mut layer)
                .collect::<crate::error::Result<_>>()?,
            layernorm: layer_norm(config.hidden_size, config.layer_norm_eps, vb.pp("layernorm"))?,
        })
    }
}

impl ViTForImageClassification {
    /// Reads or creates the tensors of `vb`: those of [`ViTModel`] under `vit`, and `classifier`.
    ///
    /// # Errors
    ///
    /// As [`ViTModel::new`], or no labels.
    pub fn new(config: &Config, labels: usize, vb: VarBuilder<'_>) -> crate::error::Result<Self> {
        let ViTModel { embeddings, layers, layernorm } = ViTModel::new(config, vb.pp("vit"))?;
        let (size, range) = (config.hidden_size, config.initializer_range);
        let labels = at_least_1("labels", labels)?;
        let classifier = fresh::linear(size, labels, range, vb.pp("classifier"))?;
        Ok(Self { embeddings, layers, layernorm, classifier })
    }
}

impl Staged for ViTModel {
    type Flow = Tensor;
    type Context = ImageContext;

    fn run(&self, stage: ViTModelStage, xs: Tensor, context: &ImageContext) -> Result<Tensor> {
        match stage {
            ViTModelStage::Embeddings => self.embeddings.forward(&xs, context.train),
            ViTModelStage::Layers(i) => layer(&self.layers, i)?.forward(&xs, context.train),
            ViTModelStage::Layernorm => self.layernorm.forward(&xs),
        }
    }
}

impl Staged for ViTForImageClassification {
    type Flow = Tensor;
    type Context = ImageContext;

    fn run(
        &self,
        stage: ViTForImageClassificationStage,
        xs: Tensor,
        context: &ImageContext,
    ) -> Result<Tensor> {
        use ViTForImageClassificationStage as Stage;
        match stage {
            Stage::Embeddings => self.embeddings.forward(&xs, context.train),
            Stage::Layers(i) => layer(&self.layers, i)?.forward(&xs, context.train),
            // The classifier reads the class token alone.
            Stage::Layernorm => self.layernorm.forward(&xs.narrow(1, 0, 1)?.squeeze(1)?),
            Stage::Classifier => self.classifier.forward(&xs),
        }
    }
}
