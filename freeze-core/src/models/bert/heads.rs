//! The encoder with a head.

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;

use super::Config;
use super::layers::{Embeddings, Layer, body};
use crate::error::at_least_1;
use crate::model::Staged;
use crate::models::context::TextContext;
use crate::models::fresh::{Dropouts, linear};
use crate::models::pooling::{Pooling, mean_pool};
use crate::models::stack::layer;
use crate::nn::ops::tanh;
use crate::nn::{Dropout, Linear};

/// A classifier of texts: of tokens, integers `[batch, length]`, scores `[batch, labels]`.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(stages, crate = "crate")]
pub struct BertForSequenceClassification {
    #[freeze(rename = "bert.embeddings")]
    embeddings: Embeddings,
    #[freeze(rename = "bert.encoder.layer")]
    layers: Vec<Layer>,
    #[freeze(rename = "bert.pooler.dense")]
    pooler: Option<Linear>,
    classifier: Linear,
    #[freeze(no_stage)]
    dropout: Dropout,
}

impl BertForSequenceClassification {
    /// The model from the tensors of `vb`.
    ///
    /// # Errors
    ///
    /// No label, settings that do not fit together, or `vb` cannot give the tensors.
    pub fn new(
        config: &Config,
        labels: usize,
        pooling: Pooling,
        vb: VarBuilder<'_>,
    ) -> crate::error::Result<Self> {
        let mut dropouts = Dropouts::new(config.seed);
        let (size, stdev) = (config.hidden_size, config.initializer_range);
        let (embeddings, layers) = body(config, &mut dropouts, &vb.pp("bert"))?;
        let pooler = match pooling {
            Pooling::Cls => Some(linear(size, size, stdev, vb.pp("bert.pooler.dense"))?),
            Pooling::Mean => None,
        };
        let classifier = linear(size, at_least_1("labels", labels)?, stdev, vb.pp("classifier"))?;
        let dropout = config.head_dropout(&mut dropouts)?;
        Ok(Self { embeddings, layers, pooler, classifier, dropout })
    }
}

impl Staged for BertForSequenceClassification {
    type Flow = Tensor;
    type Context = TextContext;

    fn run(
        &self,
        stage: BertForSequenceClassificationStage,
        xs: Tensor,
        context: &TextContext,
    ) -> Result<Tensor> {
        match (stage, &self.pooler) {
            (BertForSequenceClassificationStage::Embeddings, _) => {
                self.embeddings.forward(&xs, context)
            }
            (BertForSequenceClassificationStage::Layers(index), _) => {
                layer(&self.layers, index)?.forward(&xs, context)
            }
            (BertForSequenceClassificationStage::Pooler, Some(dense)) => pool(dense, &xs),
            (BertForSequenceClassificationStage::Pooler, None) => Ok(xs),
            (BertForSequenceClassificationStage::Classifier, pooler) => {
                let pooled = match pooler {
                    Some(_) => xs,
                    None => mean_pool(&xs, context.mask())?,
                };
                self.classifier.forward(&self.dropout.forward(&pooled, context.is_train())?)
            }
        }
    }
}

/// `[batch, size]` of `[batch, length, size]`: the first token through the pooler.
fn pool(dense: &Linear, xs: &Tensor) -> Result<Tensor> {
    tanh(&dense.forward(&xs.narrow(1, 0, 1)?.squeeze(1)?)?)
}

/// A classifier of tokens: of tokens, integers `[batch, length]`, scores `[batch, length, labels]`.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(stages, crate = "crate")]
pub struct BertForTokenClassification {
    #[freeze(rename = "bert.embeddings")]
    embeddings: Embeddings,
    #[freeze(rename = "bert.encoder.layer")]
    layers: Vec<Layer>,
    classifier: Linear,
    #[freeze(no_stage)]
    dropout: Dropout,
}

impl BertForTokenClassification {
    /// The model from the tensors of `vb`.
    ///
    /// # Errors
    ///
    /// As [`BertForSequenceClassification::new`].
    pub fn new(config: &Config, labels: usize, vb: VarBuilder<'_>) -> crate::error::Result<Self> {
        let mut dropouts = Dropouts::new(config.seed);
        let (embeddings, layers) = body(config, &mut dropouts, &vb.pp("bert"))?;
        let (size, labels) = (config.hidden_size, at_least_1("labels", labels)?);
        let classifier = linear(size, labels, config.initializer_range, vb.pp("classifier"))?;
        let dropout = config.head_dropout(&mut dropouts)?;
        Ok(Self { embeddings, layers, classifier, dropout })
    }
}

impl Staged for BertForTokenClassification {
    type Flow = Tensor;
    type Context = TextContext;

    fn run(
        &self,
        stage: BertForTokenClassificationStage,
        xs: Tensor,
        context: &TextContext,
    ) -> Result<Tensor> {
        match stage {
            BertForTokenClassificationStage::Embeddings => self.embeddings.forward(&xs, context),
            BertForTokenClassificationStage::Layers(index) => {
                layer(&self.layers, index)?.forward(&xs, context)
            }
            BertForTokenClassificationStage::Classifier => {
                self.classifier.forward(&self.dropout.forward(&xs, context.is_train())?)
            }
        }
    }
}
