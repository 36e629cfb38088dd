//! Samples, and the order of an epoch.

use candle_core::{Device::Cpu, Result, Tensor};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::drawn;

/// As many samples as batches hold.
pub(crate) struct Data {
    inputs: Tensor,
    /// So many classes for each sample.
    targets: Tensor,
    batch: usize,
}

/// Samples that enter the model together.
pub(crate) struct Batch {
    pub(crate) keys: Vec<u64>,
    pub(crate) inputs: Tensor,
    /// One after the other.
    pub(crate) targets: Tensor,
}

impl Data {
    /// Random numbers of `shape`, for each sample so many of so many classes.
    pub(crate) fn numbers(
        (batch, batches): (usize, usize),
        shape: &[usize],
        (count, classes): (usize, usize),
    ) -> Result<Self> {
        let all = batch * batches;
        let inputs = Tensor::randn(0f32, 1., [&[all], shape].concat(), &Cpu)?;
        Ok(Self { inputs, targets: drawn::classes((all, count), classes)?, batch })
    }

    /// Random words, each with a class out of as many.
    pub(crate) fn words(
        (batch, batches): (usize, usize),
        sequence: usize,
        vocabulary: usize,
    ) -> Result<Self> {
        let draw = || drawn::classes((batch * batches, sequence), vocabulary);
        Ok(Self { inputs: draw()?, targets: draw()?, batch })
    }

    /// The batches of an epoch in an order of its own.
    pub(crate) fn epoch(&self, epoch: usize) -> Result<Vec<Batch>> {
        let mut order: Vec<u32> = (0..self.inputs.dim(0)? as u32).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(epoch as u64));
        let batch = |rows: &[u32]| {
            let keys = rows.iter().map(|row| u64::from(*row)).collect();
            let rows = Tensor::new(rows, &Cpu)?;
            let (inputs, targets) =
                (self.inputs.index_select(&rows, 0)?, self.targets.index_select(&rows, 0)?);
            Ok(Batch { keys, inputs, targets: targets.flatten_all()? })
        };
        order.chunks(self.batch).map(batch).collect()
    }
}
