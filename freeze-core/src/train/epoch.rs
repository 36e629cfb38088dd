//! One epoch of the loop.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// An epoch in progress. It does not borrow the run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Epoch {
    /// Epochs completed before this one.
    pub index: usize,
    /// Epochs in the whole run.
    pub epochs: usize,
    /// Batches in the epoch.
    pub batches: usize,
    /// Batches of the epoch that are already done: 0 unless an unfinished epoch is continued.
    pub done: usize,
    pub(super) seed: u64,
}

impl Epoch {
    /// The samples 0 to `samples`, exclusive, in an order that depends only on the run's seed and
    /// the epoch's number, in batches of `size` (0 counts as 1); the last may be smaller. Batches
    /// that are done are skipped, so a run resumed within an epoch continues with the next.
    pub fn shuffled(&self, samples: usize, size: usize) -> impl Iterator<Item = Vec<u32>> + use<> {
        let mut order: Vec<u32> = (0..u32::try_from(samples).unwrap_or(u32::MAX)).collect();
        order.shuffle(&mut self.rng());
        self.cut(order, size)
    }

    /// As [`shuffled`](Self::shuffled), without shuffling.
    pub fn in_order(&self, samples: usize, size: usize) -> impl Iterator<Item = Vec<u32>> + use<> {
        self.cut((0..u32::try_from(samples).unwrap_or(u32::MAX)).collect(), size)
    }

    /// Batches of your own, without those that are done. They must be the same each time that this
    /// epoch is run.
    pub fn remaining<I: IntoIterator>(&self, batches: I) -> impl Iterator<Item = I::Item> + use<I> {
        batches.into_iter().skip(self.done)
    }

    /// A generator seeded by the run's seed and the epoch's number, for a sampler of your own.
    pub fn rng(&self) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.index as u64);
        rng
    }

    fn cut(&self, order: Vec<u32>, size: usize) -> impl Iterator<Item = Vec<u32>> + use<> {
        let size = size.max(1);
        let batches = order.len().div_ceil(size);
        let batch = move |at: usize| order[at * size..order.len().min((at + 1) * size)].to_vec();
        (self.done..batches).map(batch)
    }
}
