//! Fingerprints of the samples of a batch.

use candle_core::Tensor;
use twox_hash::XxHash3_128;

use crate::error::Result;
use crate::model::{Flow, FlowRows};

/// A fingerprint (XXH3, 64 bits) of each sample of a batch, over the input and the context.
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
        let rows = tensor.to_rows()?;
        match rows.len() {
            1 => self.rows.iter_mut().for_each(|before| *before = print(*before, rows.row(0))),
            _ => self.rows(&rows),
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
        self.bytes(tensor.unsqueeze(0)?.to_rows()?.as_bytes());
        Ok(())
    }

    /// Adds bytes that all samples share.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let print = print(0, bytes).to_le_bytes();
        self.rows.iter_mut().for_each(|row| *row = self::print(*row, &print));
    }

    pub(super) fn rows(&mut self, rows: &FlowRows) {
        self.rows
            .iter_mut()
            .zip(rows.iter())
            .for_each(|(print, row)| *print = self::print(*print, row));
    }

    pub(super) fn into_prints(self) -> Vec<u64> {
        self.rows
    }
}

/// The fingerprint of `bytes` following what has the fingerprint `before`.
pub(super) fn print(before: u64, bytes: &[u8]) -> u64 {
    XxHash3_128::oneshot_with_seed(before, bytes) as u64
}
