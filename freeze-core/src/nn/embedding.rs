//! The embedding layer: rows of a table, looked up by index.

use candle_core::{Module, Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::record;
use crate::model::{Freezable, LeafTree, Mapper};

/// A table `weight` `[entries, hidden]` with the tensors of [`candle_nn::Embedding`]. Indices of shape
/// `[..]` become `[.., hidden]`.
///
/// candle's lookup is lean as it is: its backward adds the rows of the gradient up where the indices
/// point, only for a tracked table, and a frozen one records nothing.
#[derive(Clone, Debug)]
pub struct Embedding {
    embeddings: Tensor,
    hidden_size: usize,
}

impl Embedding {
    /// A layer over the given table, `[entries, hidden_size]`.
    pub fn new(embeddings: Tensor, hidden_size: usize) -> Self {
        Self { embeddings, hidden_size }
    }

    /// The table, `[entries, hidden]`.
    pub fn embeddings(&self) -> &Tensor {
        &self.embeddings
    }

    /// The length of a row.
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
    }
}

impl Module for Embedding {
    fn forward(&self, indices: &Tensor) -> Result<Tensor> {
        if !indices.dtype().is_int() {
            bail!(
                "embedding: the indices are {:?}, expected integers; convert them with `to_dtype`",
                indices.dtype()
            );
        }
        if self.embeddings.rank() != 2 || self.embeddings.dims()[1] != self.hidden_size {
            bail!(
                "embedding: the table has shape {:?}, expected [entries, {}]",
                self.embeddings.shape(),
                self.hidden_size
            );
        }
        let shape = [indices.dims(), &[self.hidden_size]].concat();
        record::lookup(indices, &self.embeddings, || {
            self.embeddings.index_select(&indices.flatten_all()?, 0)?.reshape(shape)
        })
    }
}

#[diagnostic::do_not_recommend]
impl Freezable for Embedding {
    const LEAVES: LeafTree = LeafTree::leaf("Embedding");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> crate::error::Result<Self> {
        mapper.leaf("Embedding", |mapper| {
            Ok(Self::new(mapper.weight("weight", &self.embeddings)?, self.hidden_size))
        })
    }
}

impl From<candle_nn::Embedding> for Embedding {
    fn from(layer: candle_nn::Embedding) -> Self {
        Self::new(layer.embeddings().clone(), layer.hidden_size())
    }
}

/// A layer over `weight` of `vb`, `[in_size, out_size]`, initialised as candle-nn does.
///
/// # Errors
///
/// `vb` cannot give the tensor.
pub fn embedding(in_size: usize, out_size: usize, vb: VarBuilder<'_>) -> Result<Embedding> {
    candle_nn::embedding(in_size, out_size, vb).map(Embedding::from)
}
