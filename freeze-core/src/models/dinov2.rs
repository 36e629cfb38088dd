//! DINOv2 (Oquab et al., 2023, arXiv:2304.07193), with the tensor names of the public files, whose feed-forward
//! layers have the plain or the gated form (the giant's).
//!
//! A ViT whose blocks scale what they add. The classifier reads the class token and the mean of the patches. For
//! images of another size than the config's, the position embeddings are interpolated, as in pretraining.
//!
//! Each leaf has the name of a file's tensors. A model of one block, whose embeddings are frozen:
//!
//! ```
//! use candle_core::{DType, Device::Cpu, Tensor};
//! use freeze_core::{Freezer, Staged, init::Seeded};
//! use freeze_core::models::{ImageContext, PretrainedConfig, dinov2::{Config, Dinov2ForImageClassification}};
//!
//! let config = Config::from_json(
//!     r#"{"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 4,
//!         "image_size": 4, "patch_size": 2}"#,
//! )?;
//! let net = Dinov2ForImageClassification::new(&config, 3, Seeded::builder(1, DType::F32, &Cpu))?;
//! let mut net = Freezer::new(net)?;
//! net.freeze_front(net.leaf_before("dinov2.encoder.layer.0")?, &mut [])?;
//! let images = Tensor::zeros((2, 3, 4, 4), DType::F32, &Cpu)?;
//! assert_eq!(net.forward(images, &ImageContext { train: true })?.dims(), [2, 3]);
//! let table = net.summary()?.to_string();
//! // Without the lines between the rows.
//! let rows = table.lines().filter(|line| !line.starts_with(['─', '═'])).skip(1);
//! let shown: Vec<&str> = rows.map(str::trim_end).collect();
//! assert_eq!(format!("\n{}\n", shown.join("\n")), r#"
//!   0   dinov2.embeddings.cls_token                        Tensor      [1, 1, 8]                      8   frozen
//!   1   dinov2.embeddings.mask_token                       Tensor      [1, 8]                         8   frozen
//!   2   dinov2.embeddings.patch_embeddings.projection      Conv2d      weight [8, 3, 2, 2]          104   frozen
//!                                                                      bias [8]
//!   3   dinov2.embeddings.position_embeddings              Tensor      [1, 5, 8]                     40   frozen
//!   4   dinov2.encoder.layer.0.norm1                       LayerNorm   weight [8]                    16   trained
//!                                                                      bias [8]
//!   5   dinov2.encoder.layer.0.attention.attention.query   Linear      weight [8, 8]                 72   trained
//!                                                                      bias [8]
//!   6   dinov2.encoder.layer.0.attention.attention.key     Linear      weight [8, 8]                 72   trained
//!                                                                      bias [8]
//!   7   dinov2.encoder.layer.0.attention.attention.value   Linear      weight [8, 8]                 72   trained
//!                                                                      bias [8]
//!   8   dinov2.encoder.layer.0.attention.output.dense      Linear      weight [8, 8]                 72   trained
//!                                                                      bias [8]
//!   9   dinov2.encoder.layer.0.layer_scale1.lambda1        Tensor      [8]                            8   trained
//!  10   dinov2.encoder.layer.0.norm2                       LayerNorm   weight [8]                    16   trained
//!                                                                      bias [8]
//!  11   dinov2.encoder.layer.0.mlp.fc1                     Linear      weight [32, 8]               288   trained
//!                                                                      bias [32]
//!  12   dinov2.encoder.layer.0.mlp.fc2                     Linear      weight [8, 32]               264   trained
//!                                                                      bias [8]
//!  13   dinov2.encoder.layer.0.layer_scale2.lambda1        Tensor      [8]                            8   trained
//!  14   dinov2.layernorm                                   LayerNorm   weight [8]                    16   trained
//!                                                                      bias [8]
//!  15   classifier                                         Linear      weight [3, 16]                51   trained
//!                                                                      bias [3]
//! 16 leaves, 1115 parameters: 955 trained, 160 not
//! "#);
//! # Ok::<(), freeze_core::Error>(())
//! ```

mod layer;

use candle_core::{D, Module, Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::activation::Activation;
use super::attention::check_heads;
use super::config::PretrainedConfig;
use super::context::ImageContext;
use super::fresh::{self, Dropouts};
use super::patches::{self, Embeddings, OtherImages, Sizes};
use super::pooling::mean_pool;
use super::stack::layer;
use crate::error::{at_least_1, check_number};
use crate::model::Staged;
use crate::nn::{LayerNorm, Linear, layer_norm};
use layer::Layer;

/// What a DINOv2 is made of: the fields of a `config.json` with `"model_type": "dinov2"`, whose defaults are those
/// of `transformers`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Config {
    /// The size of a token's state.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Heads of attention: a divisor of `hidden_size`.
    pub num_attention_heads: usize,
    /// The width of the feed-forward layers, as a multiple of `hidden_size`; the gated form has two thirds of it,
    /// rounded up to a multiple of 8.
    pub mlp_ratio: f64,
    /// The activation of the plain form.
    pub hidden_act: Activation,
    /// Added to variances.
    pub layer_norm_eps: f64,
    /// The side of an image, for which there are position embeddings.
    pub image_size: usize,
    /// The side of a patch: a divisor of `image_size`.
    pub patch_size: usize,
    /// Colours.
    pub num_channels: usize,
    /// Whether the layers of queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// The fresh scale of what a block adds.
    pub layerscale_value: f64,
    /// The probability with which a block adds nothing to a sample (stochastic depth: Huang et al., 2016,
    /// arXiv:1603.09382).
    pub drop_path_rate: f64,
    /// Whether the feed-forward layers have the gated form (SwiGLU: Shazeer, 2020, arXiv:2002.05202).
    pub use_swiglu_ffn: bool,
    /// Whether there is a token for masked patches: a leaf that no forward here reads, so that files are loaded and
    /// saved whole. It begins frozen.
    pub use_mask_token: bool,
    /// The dropout of the embeddings, and of what attention gives.
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
            mlp_ratio: 4.0,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-6,
            image_size: 224,
            patch_size: 14,
            num_channels: 3,
            qkv_bias: true,
            layerscale_value: 1.0,
            drop_path_rate: 0.0,
            use_swiglu_ffn: false,
            use_mask_token: true,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            initializer_range: 0.02,
            seed: 0,
        }
    }
}

impl PretrainedConfig for Config {
    const MODEL_TYPES: &'static [&'static str] = &["dinov2"];

    fn check(&self) -> crate::error::Result<()> {
        at_least_1("num_hidden_layers", self.num_hidden_layers)?;
        check_heads(
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
        )?;
        let one = 1.0 / self.hidden_size as f64;
        check_number("mlp_ratio", self.mlp_ratio, one.., "a width of at least 1")?;
        patches::check(self.num_channels, self.image_size, self.patch_size)
    }
}

/// The encoder: images `[batch, channels, height, width]` become the states of the class token and of all patches,
/// `[batch, 1 + patches, hidden]`.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(stages, crate = "crate")]
pub struct Dinov2Model {
    embeddings: Embeddings,
    #[freeze(rename = "encoder.layer")]
    layers: Vec<Layer>,
    layernorm: LayerNorm,
}

/// The encoder with a linear layer on the state of the class token and the mean of the patches': logits
/// `[batch, labels]`.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(stages, crate = "crate")]
pub struct Dinov2ForImageClassification {
    #[freeze(rename = "dinov2.embeddings")]
    embeddings: Embeddings,
    #[freeze(rename = "dinov2.encoder.layer")]
    layers: Vec<Layer>,
    #[freeze(rename = "dinov2.layernorm")]
    layernorm: LayerNorm,
    classifier: Linear,
}

impl Dinov2Model {
    /// Reads or creates the tensors of `vb`: `embeddings.cls_token`, `encoder.layer.0.layer_scale1.lambda1`,
    /// `layernorm.bias`.
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
            other_images: OtherImages::Resized,
        };
        let mut dropouts = Dropouts::new(config.seed);
        let dropout = dropouts.next(config.hidden_dropout_prob)?;
        let (masks, range) = (config.use_mask_token, config.initializer_range);
        let embeddings = Embeddings::new(sizes, masks, dropout, range, vb.pp("embeddings"))?;
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

impl Dinov2ForImageClassification {
    /// Reads or creates the tensors of `vb`: those of [`Dinov2Model`] under `dinov2`, and `classifier`.
    ///
    /// # Errors
    ///
    /// As [`Dinov2Model::new`], or no labels.
    pub fn new(config: &Config, labels: usize, vb: VarBuilder<'_>) -> crate::error::Result<Self> {
        let Dinov2Model { embeddings, layers, layernorm } =
            Dinov2Model::new(config, vb.pp("dinov2"))?;
        let (size, range) = (2 * config.hidden_size, config.initializer_range);
        let labels = at_least_1("labels", labels)?;
        let classifier = fresh::linear(size, labels, range, vb.pp("classifier"))?;
        Ok(Self { embeddings, layers, layernorm, classifier })
    }
}

impl Staged for Dinov2Model {
    type Flow = Tensor;
    type Context = ImageContext;

    fn run(&self, stage: Dinov2ModelStage, xs: Tensor, context: &ImageContext) -> Result<Tensor> {
        match stage {
            Dinov2ModelStage::Embeddings => self.embeddings.forward(&xs, context.train),
            Dinov2ModelStage::Layers(i) => layer(&self.layers, i)?.forward(&xs, context.train),
            Dinov2ModelStage::Layernorm => self.layernorm.forward(&xs),
        }
    }
}

impl Staged for Dinov2ForImageClassification {
    type Flow = Tensor;
    type Context = ImageContext;

    fn run(
        &self,
        stage: Dinov2ForImageClassificationStage,
        xs: Tensor,
        context: &ImageContext,
    ) -> Result<Tensor> {
        use Dinov2ForImageClassificationStage as Stage;
        match stage {
            Stage::Embeddings => self.embeddings.forward(&xs, context.train),
            Stage::Layers(i) => layer(&self.layers, i)?.forward(&xs, context.train),
            Stage::Layernorm => self.layernorm.forward(&xs),
            Stage::Classifier => {
                let patches = mean_pool(&xs.narrow(1, 1, xs.dim(1)? - 1)?, None)?;
                let class = xs.narrow(1, 0, 1)?.squeeze(1)?;
                self.classifier.forward(&Tensor::cat(&[&class, &patches], D::Minus1)?)
            }
        }
    }
}
