//! Where tokens stand in a text, as learned vectors.

use candle_core::{Module, Result, Tensor, bail};

use crate::nn::Embedding;

/// The vectors of the places of `tokens`, integers `[batch, length]`: `[length, size]`.
pub(super) fn places(tokens: &Tensor, table: &Embedding) -> Result<Tensor> {
    let [_, length] = *tokens.dims() else {
        bail!("the tokens have shape {:?}, expected [batch, length]", tokens.shape())
    };
    let positions = table.embeddings().dim(0)?;
    if length > positions {
        bail!(
            "texts of {length} tokens, but the model has {positions} positions: cut them, as a tokenizer's \
             truncation does"
        );
    }
    table.forward(&Tensor::arange(0, length as u32, tokens.device())?)
}
