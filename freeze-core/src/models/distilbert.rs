//! DistilBERT (Sanh et al., 2019, [arXiv:1910.01108](https://arxiv.org/abs/1910.01108)): half of BERT's layers,
//! without segments and with other names; the encoder, and heads for texts and for tokens.
//!
//! The leaves of a classifier of texts with one layer, each with its weight and, not shown here, its bias:
//!
//! ```
//! # use candle_core::{DType, Device::Cpu};
//! # use freeze_core::{Freezable, init::Seeded, models::PretrainedConfig};
//! # use freeze_core::models::distilbert::{Config, DistilBertForSequenceClassification};
//! # let config = Config::from_json(
//! #     r#"{"vocab_size": 50, "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 16,
//! #         "max_position_embeddings": 32}"#,
//! # )?;
//! let vb = Seeded::builder(1, DType::F32, &Cpu);
//! let net = DistilBertForSequenceClassification::new(&config, 2, vb)?;
//! let summary = net.summary()?.to_string();
//! # let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
//! # let rows: Vec<String> = summary.lines().map(words).filter(|row| row.starts_with(char::is_numeric)).collect();
//! # let expected = [
//! "0 distilbert.embeddings.word_embeddings Embedding weight [50, 8] 400 trained",
//! "1 distilbert.embeddings.position_embeddings Embedding weight [32, 8] 256 trained",
//! "2 distilbert.embeddings.LayerNorm LayerNorm weight [8] 16 trained",
//! "3 distilbert.transformer.layer.0.attention.q_lin Linear weight [8, 8] 72 trained",
//! "4 distilbert.transformer.layer.0.attention.k_lin Linear weight [8, 8] 72 trained",
//! "5 distilbert.transformer.layer.0.attention.v_lin Linear weight [8, 8] 72 trained",
//! "6 distilbert.transformer.layer.0.attention.out_lin Linear weight [8, 8] 72 trained",
//! "7 distilbert.transformer.layer.0.sa_layer_norm LayerNorm weight [8] 16 trained",
//! "8 distilbert.transformer.layer.0.ffn.lin1 Linear weight [16, 8] 144 trained",
//! "9 distilbert.transformer.layer.0.ffn.lin2 Linear weight [8, 16] 136 trained",
//! "10 distilbert.transformer.layer.0.output_layer_norm LayerNorm weight [8] 16 trained",
//! "11 pre_classifier Linear weight [8, 8] 72 trained",
//! "12 classifier Linear weight [2, 8] 18 trained",
//! "13 leaves, 1362 parameters: 1362 trained, 0 not",
//! # ];
//! # assert_eq!(rows, expected);
//! # Ok::<(), freeze_core::Error>(())
//! ```

mod layers;

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::activation::Activation;
use super::attention::check_heads;
use super::config::PretrainedConfig;
use super::context::TextContext;
use super::fresh::{Dropouts, linear};
use super::stack::layer;
use crate::error::at_least_1;
use crate::model::Staged;
use crate::nn::ops::relu;
use crate::nn::{Dropout, Linear};
use layers::{Embeddings, Layer};

/// The settings, by default those of the published base model; lengths are in tokens.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Config {
    /// Tokens that there are.
    pub vocab_size: usize,
    /// The size of a token's vector.
    pub dim: usize,
    /// Layers of the encoder.
    pub n_layers: usize,
    /// Heads of attention, a divisor of `dim`.
    pub n_heads: usize,
    /// The size between the two linear layers of a layer.
    pub hidden_dim: usize,
    /// The function between them.
    pub activation: Activation,
    /// The probability with which training drops an element of the embeddings and of a perceptron's output.
    pub dropout: f64,
    /// The probability with which training drops a probability of attention.
    pub attention_dropout: f64,
    /// The probability of the dropout in front of the classifier of texts.
    pub seq_classif_dropout: f64,
    /// The longest text.
    pub max_position_embeddings: usize,
    /// The standard deviation of initial weights.
    pub initializer_range: f64,
    /// What the generators of the dropouts are seeded with; no part of published files.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            dim: 768,
            n_layers: 6,
            n_heads: 12,
            hidden_dim: 3072,
            activation: Activation::Gelu,
            dropout: 0.1,
            attention_dropout: 0.1,
            seq_classif_dropout: 0.2,
            max_position_embeddings: 512,
            initializer_range: 0.02,
            seed: 0,
        }
    }
}

impl PretrainedConfig for Config {
    const MODEL_TYPES: &'static [&'static str] = &["distilbert"];

    fn check(&self) -> crate::error::Result<()> {
        at_least_1("max_position_embeddings", self.max_position_embeddings)?;
        check_heads(("dim", self.dim), ("n_heads", self.n_heads))
    }
}

/// The encoder: of tokens, integers `[batch, length]`, their vectors, `[batch, length, dim]`.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(stages, crate = "crate")]
pub struct DistilBertModel {
    embeddings: Embeddings,
    #[freeze(rename = "transformer.layer")]
    layers: Vec<Layer>,
}

impl DistilBertModel {
    /// The model from the tensors of `vb`.
    ///
    /// # Errors
    ///
    /// Settings that do not fit together, or `vb` cannot give the tensors.
    pub fn new(config: &Config, vb: VarBuilder<'_>) -> crate::error::Result<Self> {
        let (embeddings, layers) = layers::body(config, &mut Dropouts::new(config.seed), &vb)?;
        Ok(Self { embeddings, layers })
    }
}

impl Staged for DistilBertModel {
    type Flow = Tensor;
    type Context = TextContext;

    fn run(
        &self,
        stage: DistilBertModelStage,
        xs: Tensor,
        context: &TextContext,
    ) -> Result<Tensor> {
        match stage {
            DistilBertModelStage::Embeddings => self.embeddings.forward(&xs, context),
            DistilBertModelStage::Layers(index) => {
                layer(&self.layers, index)?.forward(&xs, context)
            }
        }
    }
}

/// A classifier of texts: of tokens, integers `[batch, length]`, scores `[batch, labels]`.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(stages, crate = "crate")]
pub struct DistilBertForSequenceClassification {
    #[freeze(rename = "distilbert.embeddings")]
    embeddings: Embeddings,
    #[freeze(rename = "distilbert.transformer.layer")]
    layers: Vec<Layer>,
    pre_classifier: Linear,
    classifier: Linear,
    #[freeze(no_stage)]
    dropout: Dropout,
}

impl DistilBertForSequenceClassification {
    /// The model from the tensors of `vb`.
    ///
    /// # Errors
    ///
    /// No label, settings that do not fit together, or `vb` cannot give the tensors.
    pub fn new(config: &Config, labels: usize, vb: VarBuilder<'_>) -> crate::error::Result<Self> {
        let mut dropouts = Dropouts::new(config.seed);
        let (size, stdev) = (config.dim, config.initializer_range);
        let (embeddings, layers) = layers::body(config, &mut dropouts, &vb.pp("distilbert"))?;
        let pre_classifier = linear(size, size, stdev, vb.pp("pre_classifier"))?;
        let classifier = linear(size, at_least_1("labels", labels)?, stdev, vb.pp("classifier"))?;
        let dropout = dropouts.next(config.seq_classif_dropout)?;
        Ok(Self { embeddings, layers, pre_classifier, classifier, dropout })
    }
}

impl Staged for DistilBertForSequenceClassification {
    type Flow = Tensor;
    type Context = TextContext;

    fn run(
        &self,
        stage: DistilBertForSequenceClassificationStage,
        xs: Tensor,
        context: &TextContext,
    ) -> Result<Tensor> {
        use DistilBertForSequenceClassificationStage as Stage;
        match stage {
            Stage::Embeddings => self.embeddings.forward(&xs, context),
            Stage::Layers(index) => layer(&self.layers, index)?.forward(&xs, context),
            Stage::PreClassifier => {
                relu(&self.pre_classifier.forward(&xs.narrow(1, 0, 1)?.squeeze(1)?)?)
            }
            Stage::Classifier => {
                self.classifier.forward(&self.dropout.forward(&xs, context.is_train())?)
            }
        }
    }
}

/// A classifier of tokens: of tokens, integers `[batch, length]`, scores `[batch, length, labels]`.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(stages, crate = "crate")]
pub struct DistilBertForTokenClassification {
    #[freeze(rename = "distilbert.embeddings")]
    embeddings: Embeddings,
    #[freeze(rename = "distilbert.transformer.layer")]
    layers: Vec<Layer>,
    classifier: Linear,
    #[freeze(no_stage)]
    dropout: Dropout,
}

impl DistilBertForTokenClassification {
    /// The model from the tensors of `vb`.
    ///
    /// # Errors
    ///
    /// As [`DistilBertForSequenceClassification::new`].
    pub fn new(config: &Config, labels: usize, vb: VarBuilder<'_>) -> crate::error::Result<Self> {
        let mut dropouts = Dropouts::new(config.seed);
        let (embeddings, layers) = layers::body(config, &mut dropouts, &vb.pp("distilbert"))?;
        let labels = at_least_1("labels", labels)?;
        let classifier = linear(config.dim, labels, config.initializer_range, vb.pp("classifier"))?;
        Ok(Self { embeddings, layers, classifier, dropout: dropouts.next(config.dropout)? })
    }
}

impl Staged for DistilBertForTokenClassification {
    type Flow = Tensor;
    type Context = TextContext;

    fn run(
        &self,
        stage: DistilBertForTokenClassificationStage,
        xs: Tensor,
        context: &TextContext,
    ) -> Result<Tensor> {
        use DistilBertForTokenClassificationStage as Stage;
        match stage {
            Stage::Embeddings => self.embeddings.forward(&xs, context),
            Stage::Layers(index) => layer(&self.layers, index)?.forward(&xs, context),
            Stage::Classifier => {
                self.classifier.forward(&self.dropout.forward(&xs, context.is_train())?)
            }
        }
    }
}
