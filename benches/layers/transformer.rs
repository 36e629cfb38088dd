//! (iii) A transformer encoder that normalises before each sublayer (Xiong et al., 2020).

use candle_core::{D, Module, Result, Tensor};
use candle_nn::{LayerNormConfig, VarBuilder, init};
use freeze_core::{Freezable, nn};

use super::kit::{Kit, Ours, Stock};

/// Layers over sequences.
pub(crate) trait SequenceKit: Kit {
    type Embedding: Freezable + Module;
    type Norm: Freezable + Module;

    fn embedding(words: usize, size: usize, vb: VarBuilder<'_>) -> Result<Self::Embedding>;
    fn norm(size: usize, vb: VarBuilder<'_>) -> Result<Self::Norm>;
    fn gelu(xs: &Tensor) -> Result<Tensor>;
    /// Of queries, keys and values `[rows, sequence, heads * size]`, the result too.
    fn attention(operands: [&Tensor; 3], heads: usize) -> Result<Tensor>;

    fn add(xs: &Tensor, ys: &Tensor) -> Result<Tensor> {
        xs.broadcast_add(ys)
    }
}

impl SequenceKit for Ours {
    type Embedding = nn::Embedding;
    type Norm = nn::LayerNorm;

    fn embedding(words: usize, size: usize, vb: VarBuilder<'_>) -> Result<Self::Embedding> {
        nn::embedding(words, size, vb)
    }

    fn norm(size: usize, vb: VarBuilder<'_>) -> Result<Self::Norm> {
        nn::layer_norm(size, LayerNormConfig::default(), vb)
    }

    fn gelu(xs: &Tensor) -> Result<Tensor> {
        nn::ops::gelu(xs)
    }

    fn add(xs: &Tensor, ys: &Tensor) -> Result<Tensor> {
        nn::ops::add(xs, ys)
    }

    fn attention(operands: [&Tensor; 3], heads: usize) -> Result<Tensor> {
        let mask = nn::ops::AttentionMask::None;
        nn::ops::attention_side_by_side(operands, [heads; 2], mask, None, None)
    }
}

impl SequenceKit for Stock {
    type Embedding = candle_nn::Embedding;
    type Norm = Primitive;

    fn embedding(words: usize, size: usize, vb: VarBuilder<'_>) -> Result<Self::Embedding> {
        candle_nn::embedding(words, size, vb)
    }

    fn norm(size: usize, vb: VarBuilder<'_>) -> Result<Self::Norm> {
        candle_nn::layer_norm(size, LayerNormConfig::default(), vb).map(Primitive)
    }

    fn gelu(xs: &Tensor) -> Result<Tensor> {
        xs.gelu()
    }

    fn attention(operands: [&Tensor; 3], heads: usize) -> Result<Tensor> {
        attend_by(operands, heads, |scores| candle_nn::ops::softmax(scores, D::Minus1))
    }
}

/// Attention with all scores, by products of candle's and a softmax.
pub(crate) fn attend_by(
    operands: [&Tensor; 3],
    heads: usize,
    softmax: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (rows, sequence, size) = operands[0].dims3()?;
    let split = |xs: &Tensor| {
        xs.reshape((rows, sequence, heads, size / heads))?.transpose(1, 2)?.contiguous()
    };
    let [query, key, value] = operands.map(split);
    let query = (query? * ((size / heads) as f64).powf(-0.5))?;
    let mixed = softmax(&query.matmul(&key?.t()?)?)?.matmul(&value?)?;
    mixed.transpose(1, 2)?.reshape((rows, sequence, size))
}

/// candle's layer norm as its own slow path computes it, which has a backward.
#[derive(Freezable)]
pub(crate) struct Primitive(candle_nn::LayerNorm);

impl Module for Primitive {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let size = xs.dim(D::Minus1)? as f64;
        let xs = xs.broadcast_sub(&(xs.sum_keepdim(D::Minus1)? / size)?)?;
        let variance = (xs.sqr()?.sum_keepdim(D::Minus1)? / size)?;
        let ys = xs.broadcast_div(&(variance + self.0.eps())?.sqrt()?)?;
        let ys = ys.broadcast_mul(self.0.weight())?;
        self.0.bias().map_or(Ok(ys.clone()), |bias| ys.broadcast_add(bias))
    }
}

/// The sizes of a model.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) model: usize,
    pub(crate) heads: usize,
    pub(crate) sequence: usize,
    pub(crate) vocabulary: usize,
}

/// One part of the network.
#[derive(Freezable)]
pub(crate) enum Stage<K: SequenceKit> {
    Embed(Embed<K>),
    Layer(Layer<K>),
    Norm(K::Norm),
    Head(K::Linear),
}

/// What a token means and where it stands.
#[derive(Freezable)]
pub(crate) struct Embed<K: SequenceKit> {
    tokens: K::Embedding,
    #[freeze(param)]
    positions: Tensor,
}

/// Attention and a perceptron, each around a shortcut.
#[derive(Freezable)]
pub(crate) struct Layer<K: SequenceKit> {
    norm1: K::Norm,
    query: K::Linear,
    key: K::Linear,
    value: K::Linear,
    mix: K::Linear,
    norm2: K::Norm,
    up: K::Linear,
    down: K::Linear,
    #[freeze(skip)]
    heads: usize,
}

/// The part at `index`: an embedding, the layers, a norm and a head.
pub(crate) fn stage<K: SequenceKit>(
    index: usize,
    shape: &Shape,
    vb: VarBuilder<'_>,
) -> Result<Stage<K>> {
    let &Shape { layers, model, sequence, vocabulary, .. } = shape;
    match index {
        0 => Ok(Stage::Embed(Embed {
            tokens: K::embedding(vocabulary, model, vb.pp("tokens"))?,
            positions: vb.get_with_hints(
                (sequence, model),
                "positions",
                init::DEFAULT_KAIMING_NORMAL,
            )?,
        })),
        _ if index <= layers => Layer::new(shape, vb).map(Stage::Layer),
        _ if index == layers + 1 => K::norm(model, vb).map(Stage::Norm),
        _ => K::linear(model, vocabulary, vb).map(Stage::Head),
    }
}

impl<K: SequenceKit> Layer<K> {
    fn new(shape: &Shape, vb: VarBuilder<'_>) -> Result<Self> {
        let size = shape.model;
        let linear = |name, inputs, outputs| K::linear(inputs, outputs, vb.pp(name));
        Ok(Self {
            norm1: K::norm(size, vb.pp("norm1"))?,
            query: linear("query", size, size)?,
            key: linear("key", size, size)?,
            value: linear("value", size, size)?,
            mix: linear("mix", size, size)?,
            norm2: K::norm(size, vb.pp("norm2"))?,
            up: linear("up", size, 4 * size)?,
            down: linear("down", 4 * size, size)?,
            heads: shape.heads,
        })
    }

    fn attend(&self, xs: &Tensor) -> Result<Tensor> {
        let (query, key) = (self.query.forward(xs)?, self.key.forward(xs)?);
        let value = self.value.forward(xs)?;
        self.mix.forward(&K::attention([&query, &key, &value], self.heads)?)
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let xs = K::add(xs, &self.attend(&self.norm1.forward(xs)?)?)?;
        let hidden = K::gelu(&self.up.forward(&self.norm2.forward(&xs)?)?)?;
        K::add(&xs, &self.down.forward(&hidden)?)
    }
}

impl<K: SequenceKit> Module for Stage<K> {
    /// The embedding takes tokens `[batch, sequence]`, the head gives `[batch, sequence, vocabulary]`.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Embed(embed) => K::add(&embed.tokens.forward(xs)?, &embed.positions),
            Self::Layer(layer) => layer.forward(xs),
            Self::Norm(norm) => norm.forward(xs),
            Self::Head(head) => head.forward(xs),
        }
    }
}
