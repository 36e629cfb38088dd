//! Where tokens stand in a text.

use candle_core::{Module, Result, Tensor, bail};

use crate::nn::Embedding;

/// The learned vectors of the places of `tokens`, integers `[batch, length]`: `[length, size]`.
pub(super) fn places(tokens: &Tensor, table: &Embedding) -> Result<Tensor> {
    let length = length(tokens, table.embeddings().dim(0)?)?;
    table.forward(&Tensor::arange(0, length as u32, tokens.device())?)
}

/// The length of `tokens`, `[batch, length]`, in a model with so many positions.
pub(super) fn length(tokens: &Tensor, positions: usize) -> Result<usize> {
    match *tokens.dims() {
        [_, length] => check_length(length, positions).map(|()| length),
        _ => bail!("the tokens have shape {:?}, expected [batch, length]", tokens.shape()),
    }
}

/// An error if texts are longer than a model with so many positions can read.
pub(super) fn check_length(length: usize, positions: usize) -> Result<()> {
    if length > positions {
        bail!(
            "texts of {length} tokens, but the model has {positions} positions: cut them, as a tokenizer's \
             truncation does"
        );
    }
    Ok(())
}
