//! Attention of a sequence to itself, between linear layers that have the names of a model's files.

use candle_core::{Module, Result, Tensor};

use crate::error::{Error, at_least_1};
use crate::models::context::TextContext;
use crate::nn::ops::{
    AttentionMask, merge_heads, scaled_dot_product_attention, scaled_dot_product_attention_dropout,
    split_heads,
};
use crate::nn::{Dropout, Linear};

/// What the tokens of `xs`, `[batch, length, size]`, take from each other, by the layers for queries, keys and
/// values: `[batch, length, size]`. `dropout` drops probabilities if `train`.
pub(super) fn attend(
    [query, key, value]: [&Linear; 3],
    xs: &Tensor,
    heads: usize,
    mask: AttentionMask<'_>,
    dropout: &Dropout,
    train: bool,
) -> Result<Tensor> {
    let split = |layer: &Linear| split_heads(&layer.forward(xs)?, heads);
    let (q, k, v) = (split(query)?, split(key)?, split(value)?);
    merge_heads(&mix([&q, &k, &v], mask, dropout, train)?)
}

/// As [`attend`], of the tokens of texts without the padding that `context` hides.
pub(super) fn attend_texts(
    projections: [&Linear; 3],
    xs: &Tensor,
    heads: usize,
    context: &TextContext,
    dropout: &Dropout,
) -> Result<Tensor> {
    let hidden = context.additive(xs)?;
    let mask = hidden.as_ref().map_or(AttentionMask::None, AttentionMask::Additive);
    attend(projections, xs, heads, mask, dropout, context.is_train())
}

/// Attention of queries, keys and values in heads, `[batch, heads, length, size]`. `dropout` drops probabilities if
/// `train`.
pub(super) fn mix(
    [q, k, v]: [&Tensor; 3],
    mask: AttentionMask<'_>,
    dropout: &Dropout,
    train: bool,
) -> Result<Tensor> {
    match train {
        true => scaled_dot_product_attention_dropout(q, k, v, mask, None, dropout),
        false => scaled_dot_product_attention(q, k, v, mask, None),
    }
}

/// An error unless a size above 0 is cut into heads; both with the names that the settings have for them.
pub(super) fn check_heads(
    (of_size, size): (&'static str, usize),
    (of_heads, heads): (&'static str, usize),
) -> crate::error::Result<()> {
    at_least_1(of_size, size)?;
    match size.is_multiple_of(at_least_1(of_heads, heads)?) {
        true => Ok(()),
        false => Err(Error::count(of_heads, heads, "a divisor of the size of a token's vector")),
    }
}
