//! Fingerprints of the samples of a batch.

use candle_core::Tensor;
use twox_hash::XxHash3_128;

use crate::error::{Error, Result};
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
    /// Its elements cannot be read, or it has another number of rows than one or the batch.
    pub fn samples(&mut self, tensor: &Tensor) -> Result<()> {
        let rows = Rows::of(tensor)?;
        if ![1, self.batch()].contains(&rows.len) {
            let (found, batch) = (rows.len, self.batch());
            return Err(Error::cache(format!("{found} rows for a batch of {batch} samples")));
        }
        for (i, print) in self.rows.iter_mut().enumerate() {
            *print = rows.print(if rows.len == 1 { 0 } else { i }, *print);
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

/// The rows of a tensor, of which fingerprints are made.
pub(super) struct Rows {
    len: usize,
    /// The bytes of each.
    width: usize,
    digests: Vec<[u64; 2]>,
}

impl Rows {
    pub(super) fn of(tensor: &Tensor) -> Result<Self> {
        let (width, len) = (tensor.row_layout()?.width(), tensor.batch()?);
        Ok(Self { len, width, digests: row_digests(tensor, len)? })
    }

    /// The fingerprint of a row following what has the fingerprint `before`.
    pub(super) fn print(&self, row: usize, before: u64) -> u64 {
        let each = self.digests.len() / self.len;
        let own = &self.digests[row * each..][..each];
        let bytes: Vec<u8> = own.as_flattened().iter().flat_map(|sum| sum.to_le_bytes()).collect();
        print(print(before, &(self.width as u64).to_le_bytes()), &bytes)
    }
}
