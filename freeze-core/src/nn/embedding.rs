//! The embedding layer: rows of a table, looked up by index.

use candle_core::{Module, Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::newtype::newtype;
use super::ops::embedding::embedding as lookup;

/// A table `weight` `[entries, hidden]` with the tensors of [`candle_nn::Embedding`]. Indices of shape
/// `[..]` become `[.., hidden]`.
///
/// The backward of a tracked table writes the rows that occur and no others; a frozen one records nothing.
#[derive(Clone, Debug)]
pub struct Embedding(candle_nn::Embedding);

impl Embedding {
    /// A layer over the given table, `[entries, hidden_size]`.
    pub fn new(embeddings: Tensor, hidden_size: usize) -> Self {
        Self(candle_nn::Embedding::new(embeddings, hidden_size))
    }

    /// The table, `[entries, hidden]`.
    pub fn embeddings(&self) -> &Tensor {
        self.0.embeddings()
    }

    /// The length of a row.
    pub fn hidden_size(&self) -> usize {
        self.0.hidden_size()
    }
}

impl Module for Embedding {
    fn forward(&self, indices: &Tensor) -> Result<Tensor> {
        let (table, hidden) = (self.embeddings(), self.hidden_size());
        if table.rank() != 2 || table.dims()[1] != hidden {
            bail!(
                "embedding: the table has shape {:?}, expected [entries, {hidden}]",
                table.shape()
            );
        }
        lookup(indices, table)
    }
}

newtype!(Embedding);

/// A layer over `weight` of `vb`, `[in_size, out_size]`, initialised as candle-nn does.
///
/// # Errors
///
/// `vb` cannot give the tensor.
pub fn embedding(in_size: usize, out_size: usize, vb: VarBuilder<'_>) -> Result<Embedding> {
    candle_nn::embedding(in_size, out_size, vb).map(Embedding)
}
