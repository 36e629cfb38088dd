//! BERT (Devlin et al., 2018, [arXiv:1810.04805](https://arxiv.org/abs/1810.04805)) and what has its layers and
//! names, such as MiniLM: the encoder, and heads for texts and for tokens.
//!
//! The names of the tensors are those of Hugging Face's files. Stages are the embeddings, the layers, the pooler
//! and the head; so the lower half of the body is frozen by its name:
//!
//! ```
//! use candle_core::{DType, Device::Cpu, Tensor};
//! use freeze_core::{Freezable, Freezer, Staged, init::Seeded};
//! use freeze_core::models::{PretrainedConfig, TextContext, bert::{BertModel, Config}};
//!
//! let config = Config::from_json(
//!     r#"{"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
//!         "intermediate_size": 16, "max_position_embeddings": 32}"#,
//! )?;
//! let mut net = Freezer::new(BertModel::new(&config, Seeded::builder(1, DType::F32, &Cpu))?)?;
//! net.freeze_front(net.whole().leaf_before("encoder.layer.1")?, &mut [])?;
//! let (tokens, mask) = (Tensor::new(&[[2u32, 7, 9], [2, 5, 0]], &Cpu)?, Tensor::new(&[[1u32, 1, 1], [1, 1, 0]], &Cpu)?);
//! let hidden = net.forward(tokens, &TextContext::padded(&mask)?.train(true))?;
//! assert_eq!(hidden.dims(), [2, 3, 8]);
//! # Ok::<(), freeze_core::Error>(())
//! ```
//!
//! The leaves of a classifier of texts with one layer, each with its weight and, not shown here, its bias:
//!
//! ```
//! # use candle_core::{DType, Device::Cpu};
//! # use freeze_core::{Freezable, init::Seeded, models::{Pooling, PretrainedConfig}};
//! # use freeze_core::models::bert::{BertForSequenceClassification, Config};
//! # let config = Config::from_json(
//! #     r#"{"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
//! #         "intermediate_size": 16, "max_position_embeddings": 32}"#,
//! # )?;
//! let vb = Seeded::builder(1, DType::F32, &Cpu);
//! let net = BertForSequenceClassification::new(&config, 2, Pooling::Cls, vb)?;
//! let summary = net.summary()?.to_string();
//! # let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
//! # let rows: Vec<String> = summary.lines().map(words).filter(|row| row.starts_with(char::is_numeric)).collect();
//! # let expected = [
//! "0 bert.embeddings.word_embeddings Embedding weight [50, 8] 400 trained",
//! "1 bert.embeddings.position_embeddings Embedding weight [32, 8] 256 trained",
//! "2 bert.embeddings.token_type_embeddings Embedding weight [2, 8] 16 trained",
//! "3 bert.embeddings.LayerNorm LayerNorm weight [8] 16 trained",
//! "4 bert.encoder.layer.0.attention.self.query Linear weight [8, 8] 72 trained",
//! "5 bert.encoder.layer.0.attention.self.key Linear weight [8, 8] 72 trained",
//! "6 bert.encoder.layer.0.attention.self.value Linear weight [8, 8] 72 trained",
//! "7 bert.encoder.layer.0.attention.output.dense Linear weight [8, 8] 72 trained",
//! "8 bert.encoder.layer.0.attention.output.LayerNorm LayerNorm weight [8] 16 trained",
//! "9 bert.encoder.layer.0.intermediate.dense Linear weight [16, 8] 144 trained",
//! "10 bert.encoder.layer.0.output.dense Linear weight [8, 16] 136 trained",
//! "11 bert.encoder.layer.0.output.LayerNorm LayerNorm weight [8] 16 trained",
//! "12 bert.pooler.dense Linear weight [8, 8] 72 trained",
//! "13 classifier Linear weight [2, 8] 18 trained",
//! "14 leaves, 1378 parameters: 1378 trained, 0 not",
//! # ];
//! # assert_eq!(rows, expected);
//! # Ok::<(), freeze_core::Error>(())
//! ```

mod heads;
mod layers;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::activation::Activation;
use super::attention::check_heads;
use super::config::PretrainedConfig;
use super::context::TextContext;
use super::fresh::Dropouts;
use super::stack::layer;
use crate::error::{Error, at_least_1, cut};
use crate::model::Staged;
use crate::nn::Dropout;
pub use heads::{
    BertForSequenceClassification, BertForSequenceClassificationStage, BertForTokenClassification,
    BertForTokenClassificationStage,
};
use layers::{Embeddings, Layer, body};

/// The settings, by default those of BERT base.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Config {
    /// Tokens that there are.
    pub vocab_size: usize,
    /// The size of a token's vector.
    pub hidden_size: usize,
    /// Layers of the encoder.
    pub num_hidden_layers: usize,
    /// Heads of attention, a divisor of `hidden_size`.
    pub num_attention_heads: usize,
    /// The size between the two linear layers of a layer.
    pub intermediate_size: usize,
    /// The function between them.
    pub hidden_act: Activation,
    /// The probability with which training drops an element of the embeddings and of each sublayer's output.
    pub hidden_dropout_prob: f64,
    /// The probability with which training drops a probability of attention.
    pub attention_probs_dropout_prob: f64,
    /// The probability of the dropout in front of a head; `hidden_dropout_prob` unless set.
    pub classifier_dropout: Option<f64>,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// Segments that there are; 0 for none, as in DistilBERT.
    pub type_vocab_size: usize,
    /// The standard deviation of initial weights.
    pub initializer_range: f64,
    /// The epsilon of layer norms.
    pub layer_norm_eps: f64,
    /// How positions enter: `absolute` is all that there is.
    pub position_embedding_type: String,
    /// Whether a token sees only what comes before it, which is refused.
    pub is_decoder: bool,
    /// What the generators of the dropouts are seeded with; no part of published files.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            classifier_dropout: None,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            position_embedding_type: "absolute".into(),
            is_decoder: false,
            seed: 0,
        }
    }
}

impl PretrainedConfig for Config {
    const MODEL_TYPES: &'static [&'static str] = &["bert"];

    fn check(&self) -> crate::error::Result<()> {
        at_least_1("max_position_embeddings", self.max_position_embeddings)?;
        check_heads(
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
        )?;
        let why = if self.position_embedding_type != "absolute" {
            let kind = cut(&self.position_embedding_type);
            format!("`position_embedding_type` is `{kind}`; positions here are `absolute`")
        } else if self.is_decoder {
            "`is_decoder` is set; a token here sees the whole text".into()
        } else {
            return Ok(());
        };
        Err(Error::ModelConfig { of: "bert".into(), why })
    }
}

impl Config {
    fn head_dropout(&self, dropouts: &mut Dropouts) -> crate::error::Result<Dropout> {
        dropouts.next(self.classifier_dropout.unwrap_or(self.hidden_dropout_prob))
    }
}

/// The encoder: of tokens, integers `[batch, length]`, their vectors, `[batch, length, size]`.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(stages, crate = "crate")]
pub struct BertModel {
    embeddings: Embeddings,
    #[freeze(rename = "encoder.layer")]
    layers: Vec<Layer>,
}

impl BertModel {
    /// The model from the tensors of `vb`, without its pooler.
    ///
    /// # Errors
    ///
    /// Settings that do not fit together, or `vb` cannot give the tensors.
    pub fn new(config: &Config, vb: VarBuilder<'_>) -> crate::error::Result<Self> {
        let (embeddings, layers) = body(config, &mut Dropouts::new(config.seed), &vb)?;
        Ok(Self { embeddings, layers })
    }
}

impl Staged for BertModel {
    type Flow = Tensor;
    type Context = TextContext;

    fn run(&self, stage: BertModelStage, xs: Tensor, context: &TextContext) -> Result<Tensor> {
        match stage {
            BertModelStage::Embeddings => self.embeddings.forward(&xs, context),
            BertModelStage::Layers(index) => layer(&self.layers, index)?.forward(&xs, context),
        }
    }
}
