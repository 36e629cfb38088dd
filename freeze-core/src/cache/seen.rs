//! Fingerprints of the samples of a batch.

use candle_core::Tensor;
use twox_hash::XxHash3_128;

use crate::error::Result;
use crate::kernel::row_digests;
use crate::model::Flow;

/// A fingerprint of 64 bits of each sample of a batch, over the input and the context: XXH3 of the digests of its
/// tensors, which are the same on every device, and which a CUDA card computes of its own.
#[derive(Debug)]
pub struct Seen {
    rows: Vec<u64>,
}

impl Seen {
    pub(super) fn new(batch: usize) -> Self {
        Self { rows: vec![0; batch] }
    }

    /// The number of samples.
    pub fn batch(&self) -> usize {
        self.rows.len()
    }

    /// Adds each sample's row of a tensor whose first dimension is the batch; a single row is that of all
    /// samples, and adds the same in a batch of one as in a larger one.
    ///
    /// # Errors
    ///
    /// Its elements cannot be read.
    pub fn samples(&mut self, tensor: &Tensor) -> Result<()> {
        match &prints(tensor)?[..] {
            [all] => self.rows.iter_mut().for_each(|row| *row = print(*row, all)),
            each => self.rows.iter_mut().zip(each).for_each(|(row, own)| *row = print(*row, own)),
        }
        Ok(())
    }

    /// Adds a tensor that all samples share.
    ///
    /// # Errors
    ///
    /// Its elements cannot be read.
    pub fn shared(&mut self, tensor: &Tensor) -> Result<()> {
        self.bytes(format!("{:?}{:?}", tensor.dtype(), tensor.dims()).as_bytes());
        self.samples(&tensor.unsqueeze(0)?)
    }

    /// Adds bytes that all samples share.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let print = print(0, bytes).to_le_bytes();
        self.rows.iter_mut().for_each(|row| *row = self::print(*row, &print));
    }

    pub(super) fn into_prints(self) -> Vec<u64> {
        self.rows
    }
}

/// The fingerprint of `bytes` following what has the fingerprint `before`.
pub(super) fn print(before: u64, bytes: &[u8]) -> u64 {
    XxHash3_128::oneshot_with_seed(before, bytes) as u64
}

/// What the fingerprint of each row of a tensor is made of.
pub(super) fn prints(tensor: &Tensor) -> Result<Vec<[u8; 24]>> {
    let width = tensor.row_layout()?.width() as u64;
    let all = row_digests(tensor, tensor.batch()?)?;
    let bytes = |[words, products]: [u64; 2]| {
        let mut bytes = [0; 24];
        let parts = bytes.chunks_exact_mut(8).zip([width, words, products]);
        parts.for_each(|(part, number)| part.copy_from_slice(&number.to_le_bytes()));
        bytes
    };
    Ok(all.into_iter().map(bytes).collect())
}
