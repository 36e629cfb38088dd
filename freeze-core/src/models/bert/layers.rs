//! The parts of the encoder, with the names that published files have.

use candle_core::{Module, Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::Config;
use crate::models::activation::Activation;
use crate::models::attention::attend_texts;
use crate::models::config::PretrainedConfig;
use crate::models::context::TextContext;
use crate::models::fresh::{Dropouts, embedding, linear};
use crate::models::places::places;
use crate::nn::ops::add;
use crate::nn::{Dropout, Embedding, LayerNorm, Linear, layer_norm};

/// What a token means, where it stands and which segment it belongs to.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(crate = "crate")]
pub(super) struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Option<Embedding>,
    #[freeze(rename = "LayerNorm")]
    norm: LayerNorm,
    dropout: Dropout,
}

impl Embeddings {
    pub(super) fn new(
        config: &Config,
        dropouts: &mut Dropouts,
        vb: VarBuilder<'_>,
    ) -> crate::error::Result<Self> {
        let table = |entries, name| {
            embedding(entries, config.hidden_size, config.initializer_range, vb.pp(name))
        };
        let types = match config.type_vocab_size {
            0 => None,
            types => Some(table(types, "token_type_embeddings")?),
        };
        Ok(Self {
            word_embeddings: table(config.vocab_size, "word_embeddings")?,
            position_embeddings: table(config.max_position_embeddings, "position_embeddings")?,
            token_type_embeddings: types,
            norm: layer_norm(config.hidden_size, config.layer_norm_eps, vb.pp("LayerNorm"))?,
            dropout: dropouts.next(config.hidden_dropout_prob)?,
        })
    }

    pub(super) fn forward(&self, tokens: &Tensor, context: &TextContext) -> Result<Tensor> {
        let places = places(tokens, &self.position_embeddings)?;
        let mut xs = self.word_embeddings.forward(tokens)?;
        match (&self.token_type_embeddings, context.segments()) {
            (Some(types), Some(segments)) => xs = add(&xs, &types.forward(segments)?)?,
            (Some(types), None) => {
                let first = Tensor::new(&[0u32], tokens.device())?;
                xs = add(&xs, &types.forward(&first)?)?;
            }
            (None, Some(_)) => bail!("bert: token types, but the model has none"),
            (None, None) => {}
        }
        let xs = add(&xs, &places)?;
        self.dropout.forward(&self.norm.forward(&xs)?, context.is_train())
    }
}

/// Attention and a perceptron, each followed by a norm of its sum with what entered it.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(crate = "crate")]
pub(super) struct Layer {
    #[freeze(rename = "attention.self.query")]
    query: Linear,
    #[freeze(rename = "attention.self.key")]
    key: Linear,
    #[freeze(rename = "attention.self.value")]
    value: Linear,
    #[freeze(rename = "attention.output.dense")]
    mix: Linear,
    #[freeze(rename = "attention.output.LayerNorm")]
    mix_norm: LayerNorm,
    #[freeze(rename = "intermediate.dense")]
    up: Linear,
    #[freeze(rename = "output.dense")]
    down: Linear,
    #[freeze(rename = "output.LayerNorm")]
    norm: LayerNorm,
    heads: usize,
    #[freeze(skip)]
    act: Activation,
    attention_dropout: Dropout,
    mix_dropout: Dropout,
    dropout: Dropout,
}

impl Layer {
    pub(super) fn new(
        config: &Config,
        dropouts: &mut Dropouts,
        vb: VarBuilder<'_>,
    ) -> crate::error::Result<Self> {
        let (size, inner) = (config.hidden_size, config.intermediate_size);
        let between = |from, to, name| linear(from, to, config.initializer_range, vb.pp(name));
        let norm = |name| layer_norm(size, config.layer_norm_eps, vb.pp(name));
        Ok(Self {
            query: between(size, size, "attention.self.query")?,
            key: between(size, size, "attention.self.key")?,
            value: between(size, size, "attention.self.value")?,
            mix: between(size, size, "attention.output.dense")?,
            mix_norm: norm("attention.output.LayerNorm")?,
            up: between(size, inner, "intermediate.dense")?,
            down: between(inner, size, "output.dense")?,
            norm: norm("output.LayerNorm")?,
            heads: config.num_attention_heads,
            act: config.hidden_act,
            attention_dropout: dropouts.next(config.attention_probs_dropout_prob)?,
            mix_dropout: dropouts.next(config.hidden_dropout_prob)?,
            dropout: dropouts.next(config.hidden_dropout_prob)?,
        })
    }

    pub(super) fn forward(&self, xs: &Tensor, context: &TextContext) -> Result<Tensor> {
        let train = context.is_train();
        let mixed = self.mix_dropout.forward(&self.attend(xs, context)?, train)?;
        let xs = self.mix_norm.forward(&add(xs, &mixed)?)?;
        let hidden = self.down.forward(&self.act.forward(&self.up.forward(&xs)?)?)?;
        self.norm.forward(&add(&xs, &self.dropout.forward(&hidden, train)?)?)
    }

    fn attend(&self, xs: &Tensor, context: &TextContext) -> Result<Tensor> {
        let projections = [&self.query, &self.key, &self.value];
        let mixed = attend_texts(projections, xs, self.heads, context, &self.attention_dropout)?;
        self.mix.forward(&mixed)
    }
}

/// The embeddings and the layers below `vb`.
pub(super) fn body(
    config: &Config,
    dropouts: &mut Dropouts,
    vb: &VarBuilder<'_>,
) -> crate::error::Result<(Embeddings, Vec<Layer>)> {
    config.check()?;
    let embeddings = Embeddings::new(config, dropouts, vb.pp("embeddings"))?;
    let layers = vb.pp("encoder.layer");
    let layer = |index| Layer::new(config, dropouts, layers.pp(index));
    Ok((embeddings, (0..config.num_hidden_layers).map(layer).collect::<crate::error::Result<_>>()?))
}
