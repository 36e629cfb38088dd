//! Attention of a sequence to itself, between linear layers that have the names of a model's files.

use candle_core::{Module, Result, Tensor};

use crate::error::{Error, at_least_1};
use crate::models::context::TextContext;
use crate::nn::ops::{AttentionMask, attention_side_by_side};
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
    let (q, k, v) = (query.forward(xs)?, key.forward(xs)?, value.forward(xs)?);
    let dropout = train.then_some(dropout);
    attention_side_by_side([&q, &k, &v], [heads; 2], mask, None, dropout)
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
