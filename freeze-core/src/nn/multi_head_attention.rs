//! Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762): four linear layers around
//! [`attention_side_by_side`].
//!
//! ```
//! use candle_core::{DType, Device::Cpu, ModuleT, Tensor};
//! use freeze_core::nn::{MultiHeadAttentionConfig, multi_head_attention, ops::AttentionMask};
//! use freeze_core::{Freezable, init::Seeded};
//!
//! let config = MultiHeadAttentionConfig { heads: 4, key_heads: 2, ..Default::default() };
//! let layer = multi_head_attention(16, config, Seeded::builder(1, DType::F32, &Cpu))?;
//! let xs = Tensor::ones((2, 5, 16), DType::F32, &Cpu)?;
//! assert_eq!(layer.forward_t(&xs, true)?.dims(), [2, 5, 16]);
//! // Queries of one sequence, keys and values of another.
//! let context = Tensor::ones((2, 9, 16), DType::F32, &Cpu)?;
//! assert_eq!(layer.attend(&xs, &context, AttentionMask::Causal, false)?.dims(), [2, 5, 16]);
//! assert_eq!(layer.leaves()?[3].path, "o_proj");
//! # Ok::<(), freeze_core::Error>(())
//! ```

use candle_core::{Module, ModuleT, Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::dropout::Dropout;
use super::linear::{Linear, linear_b};
use super::ops::{AttentionMask, attention_side_by_side};
use crate::error::{Error, at_least_1};
use crate::model::{Freezable, LeafTree, Mapper, Part};

/// How attention is cut into heads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MultiHeadAttentionConfig {
    /// Heads of the queries; the size of the layer is a multiple.
    pub heads: usize,
    /// Heads of keys and values, of which `heads` is a multiple (grouped queries: Ainslie et al. 2023); 0 for
    /// as many.
    pub key_heads: usize,
    /// Whether the linear layers have a bias.
    pub bias: bool,
    /// The probability with which a probability of attention is dropped in training.
    pub dropout: f32,
    /// What the dropout's generator is seeded with.
    pub seed: u64,
}

impl Default for MultiHeadAttentionConfig {
    /// Eight heads of queries and of keys, with a bias, without dropout.
    fn default() -> Self {
        Self { heads: 8, key_heads: 0, bias: true, dropout: 0.0, seed: 0 }
    }
}

/// The names under which the four linear layers read their tensors.
const NAMES: [&str; 4] = ["q_proj", "k_proj", "v_proj", "o_proj"];

/// Attention of several heads between projections of queries, keys and values and one of the result; see the
/// [module](self).
///
/// Its leaves are `q_proj`, `k_proj`, `v_proj` and `o_proj`, whatever names their tensors were read under.
#[derive(Clone, Debug)]
pub struct MultiHeadAttention {
    projections: [Linear; 4],
    heads: usize,
    key_heads: usize,
    dropout: Dropout,
}

/// A layer of `size`, from `q_proj`, `k_proj`, `v_proj` and `o_proj` of `vb`, as most models of
/// candle-transformers call them.
///
/// # Errors
///
/// The numbers of heads do not divide what they should, the dropout is no probability below 1, or `vb` cannot
/// give the tensors.
pub fn multi_head_attention(
    size: usize,
    config: MultiHeadAttentionConfig,
    vb: VarBuilder<'_>,
) -> crate::error::Result<MultiHeadAttention> {
    multi_head_attention_named(size, config, NAMES, vb)
}

/// As [`multi_head_attention`], with names of the linear layers for queries, keys, values and the result:
/// `["query", "key", "value", "out"]`.
///
/// # Errors
///
/// As [`multi_head_attention`].
pub fn multi_head_attention_named(
    size: usize,
    config: MultiHeadAttentionConfig,
    names: [&str; 4],
    vb: VarBuilder<'_>,
) -> crate::error::Result<MultiHeadAttention> {
    let MultiHeadAttentionConfig { heads, bias, dropout, seed, .. } = config;
    let key_heads = if config.key_heads == 0 { heads } else { config.key_heads };
    if !size.is_multiple_of(at_least_1("heads", heads)?) {
        return Err(Error::count("heads", heads, "a divisor of the layer's size"));
    }
    if !heads.is_multiple_of(key_heads) {
        return Err(Error::count("key_heads", key_heads, "a divisor of `heads`"));
    }
    let dropout = Dropout::new(dropout, seed)?;
    let keys = size / heads * key_heads;
    let [q, k, v, o] = names;
    let projections = [
        linear_b(size, size, bias, vb.pp(q))?,
        linear_b(size, keys, bias, vb.pp(k))?,
        linear_b(size, keys, bias, vb.pp(v))?,
        linear_b(size, size, bias, vb.pp(o))?,
    ];
    Ok(MultiHeadAttention { projections, heads, key_heads, dropout })
}

impl MultiHeadAttention {
    /// Attention of `xs`, `[batch, queries, size]`, to `context`, `[batch, keys, size]`, which is `xs` for
    /// self-attention. Drops probabilities if `train`.
    ///
    /// # Errors
    ///
    /// As [`attention_side_by_side`].
    pub fn attend(
        &self,
        xs: &Tensor,
        context: &Tensor,
        mask: AttentionMask<'_>,
        train: bool,
    ) -> Result<Tensor> {
        let [q_proj, k_proj, v_proj, o_proj] = &self.projections;
        let q = q_proj.forward(sequences(xs)?)?;
        let context = sequences(context)?;
        let (k, v) = (k_proj.forward(context)?, v_proj.forward(context)?);
        let (heads, dropout) = ([self.heads, self.key_heads], train.then_some(&self.dropout));
        o_proj.forward(&attention_side_by_side([&q, &k, &v], heads, mask, None, dropout)?)
    }

    /// The linear layers for queries, keys, values and the result.
    pub fn projections(&self) -> &[Linear; 4] {
        &self.projections
    }

    /// The dropout, whose generator every clone and view shares.
    pub fn dropout(&self) -> &Dropout {
        &self.dropout
    }
}

/// `[batch, length, size]`, or an error.
fn sequences(xs: &Tensor) -> Result<&Tensor> {
    match xs.rank() {
        3 => Ok(xs),
        _ => bail!(
            "multi_head_attention: the input has shape {:?}, expected [batch, length, size]",
            xs.shape()
        ),
    }
}

/// Self-attention to all places.
impl ModuleT for MultiHeadAttention {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.attend(xs, xs, AttentionMask::None, train)
    }
}

#[diagnostic::do_not_recommend]
impl Freezable for MultiHeadAttention {
    const LEAVES: LeafTree = LeafTree::group(
        "MultiHeadAttention",
        &[
            Part { name: NAMES[0], layout: &Linear::LEAVES },
            Part { name: NAMES[1], layout: &Linear::LEAVES },
            Part { name: NAMES[2], layout: &Linear::LEAVES },
            Part { name: NAMES[3], layout: &Linear::LEAVES },
        ],
    );

    fn map_params(&self, mapper: &mut Mapper<'_>) -> crate::error::Result<Self> {
        let mut map = |place: usize| {
            mapper.at(NAMES[place], |mapper| self.projections[place].map_params(mapper))
        };
        let projections = [map(0)?, map(1)?, map(2)?, map(3)?];
        let dropout = mapper.at("dropout", |mapper| self.dropout.map_params(mapper))?;
        Ok(Self { projections, dropout, ..self.clone() })
    }
}
