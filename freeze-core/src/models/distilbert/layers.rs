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

/// The epsilon of layer norms, which no configuration sets.
const EPS: f64 = 1e-12;

/// What a token means and where it stands.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(crate = "crate")]
pub(super) struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    #[freeze(rename = "LayerNorm")]
    norm: LayerNorm,
    dropout: Dropout,
}

impl Embeddings {
    fn new(
        config: &Config,
        dropouts: &mut Dropouts,
        vb: VarBuilder<'_>,
    ) -> crate::error::Result<Self> {
        let table =
            |entries, name| embedding(entries, config.dim, config.initializer_range, vb.pp(name));
        Ok(Self {
            word_embeddings: table(config.vocab_size, "word_embeddings")?,
            position_embeddings: table(config.max_position_embeddings, "position_embeddings")?,
            norm: layer_norm(config.dim, EPS, vb.pp("LayerNorm"))?,
            dropout: dropouts.next(config.dropout)?,
        })
    }

    pub(super) fn forward(&self, tokens: &Tensor, context: &TextContext) -> Result<Tensor> {
        if context.segments().is_some() {
            bail!("distilbert: token types, but the model has none");
        }
        let places = places(tokens, &self.position_embeddings)?;
        let xs = add(&self.word_embeddings.forward(tokens)?, &places)?;
        self.dropout.forward(&self.norm.forward(&xs)?, context.is_train())
    }
}

/// Attention and a perceptron, each followed by a norm of its sum with what entered it.
#[derive(Debug, freeze_derive::Freezable)]
#[freeze(crate = "crate")]
pub(super) struct Layer {
    #[freeze(rename = "attention.q_lin")]
    query: Linear,
    #[freeze(rename = "attention.k_lin")]
    key: Linear,
    #[freeze(rename = "attention.v_lin")]
    value: Linear,
    #[freeze(rename = "attention.out_lin")]
    mix: Linear,
    sa_layer_norm: LayerNorm,
    #[freeze(rename = "ffn.lin1")]
    up: Linear,
    #[freeze(rename = "ffn.lin2")]
    down: Linear,
    output_layer_norm: LayerNorm,
    heads: usize,
    #[freeze(skip)]
    act: Activation,
    attention_dropout: Dropout,
    dropout: Dropout,
}

impl Layer {
    fn new(
        config: &Config,
        dropouts: &mut Dropouts,
        vb: VarBuilder<'_>,
    ) -> crate::error::Result<Self> {
        let (size, inner) = (config.dim, config.hidden_dim);
        let between = |from, to, name| linear(from, to, config.initializer_range, vb.pp(name));
        let norm = |name| layer_norm(size, EPS, vb.pp(name));
        Ok(Self {
            query: between(size, size, "attention.q_lin")?,
            key: between(size, size, "attention.k_lin")?,
            value: between(size, size, "attention.v_lin")?,
            mix: between(size, size, "attention.out_lin")?,
            sa_layer_norm: norm("sa_layer_norm")?,
            up: between(size, inner, "ffn.lin1")?,
            down: between(inner, size, "ffn.lin2")?,
            output_layer_norm: norm("output_layer_norm")?,
            heads: config.n_heads,
            act: config.activation,
            attention_dropout: dropouts.next(config.attention_dropout)?,
            dropout: dropouts.next(config.dropout)?,
        })
    }

    pub(super) fn forward(&self, xs: &Tensor, context: &TextContext) -> Result<Tensor> {
        let train = context.is_train();
        let projections = [&self.query, &self.key, &self.value];
        let mixed = attend_texts(projections, xs, self.heads, context, &self.attention_dropout)?;
        let xs = self.sa_layer_norm.forward(&add(xs, &self.mix.forward(&mixed)?)?)?;
        let hidden = self.down.forward(&self.act.forward(&self.up.forward(&xs)?)?)?;
        self.output_layer_norm.forward(&add(&xs, &self.dropout.forward(&hidden, train)?)?)
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
    let layers = vb.pp("transformer.layer");
    let layers = (0..config.n_layers).map(|index| Layer::new(config, dropouts, layers.pp(index)));
    Ok((embeddings, layers.collect::<crate::error::Result<_>>()?))
}
