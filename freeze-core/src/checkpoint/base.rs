//! The file that holds the unchanged tensors of a delta.

use std::path::Path;

use candle_core::Tensor;

use super::weight_file::WeightFile;
use crate::error::Result;

/// A complete checkpoint, or a safetensors file of weights by field path.
pub(super) struct Base(WeightFile);

impl Base {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let why = "it is a delta itself; take the checkpoint that it was saved against";
        Ok(Self(WeightFile::open_whole(path, why)?))
    }

    /// The checkpoint's id; `None` for a file of weights.
    pub(super) fn id(&self) -> Option<String> {
        self.0.id()
    }

    pub(super) fn has(&self, field: &str, tensor: &Tensor) -> bool {
        self.0.info(field) == Some((tensor.dims(), Some(tensor.dtype())))
    }

    pub(super) fn checksum(&mut self, field: &str) -> Result<u128> {
        self.0.checksum(field)
    }

    /// Reads the tensor; an error if it has changed since the delta was saved.
    pub(super) fn tensor(&mut self, field: &str, expected: u128) -> Result<Tensor> {
        let why = "is missing or not what the delta was saved against; take that base";
        self.0.tensor_of(field, expected, why)
    }
}
