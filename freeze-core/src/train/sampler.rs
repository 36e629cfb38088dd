//! Which samples each rank of a run takes.

use super::epoch::Epoch;
use crate::error::{Error, Result, at_least_1};

/// The samples of an epoch in batches, each shared out among the ranks of a run.
///
/// **A batch is the run's**: each rank takes its share of it. The order depends only on the run's seed and the
/// epoch's number, as [`Epoch::shuffled`]'s does, so a batch has the same samples with every number of ranks, and
/// a run that resumes with another number goes on with the samples that are not done.
///
/// ```
/// # use candle_core::{DType, Device};
/// # use candle_nn::{ParamsAdamW, VarBuilder, VarMap, linear};
/// # use freeze_core::optim::AdamW;
/// use freeze_core::Training;
/// use freeze_core::train::Sampler;
///
/// # let net = linear(2, 1, VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu))?;
/// # let mut run = Training::new(net)?.optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?;
/// let sampler = Sampler::new(10, 4)?;
/// run = run.length(1, sampler.batches_in_epoch())?;
/// let epoch = run.next_epoch()?.expect("the first");
/// let shares = |rank| sampler.batches(&epoch, rank, 2).map(Iterator::collect::<Vec<_>>);
/// let sizes = |batches: &[Vec<u32>]| batches.iter().map(Vec::len).collect::<Vec<_>>();
/// assert_eq!(sizes(&shares(0)?), [2, 2, 1]); // of batches of 4, 4 and 2
/// assert_eq!(sizes(&shares(1)?), [2, 2, 1]);
/// # Ok::<(), freeze_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampler {
    samples: usize,
    batch: usize,
    last: Last,
    keeps_ranks: bool,
}

/// What becomes of samples that do not fill a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Kept,
    Dropped,
    Padded,
}

impl Sampler {
    /// A sampler of the samples 0 to `samples`, exclusive, in batches of `batch` over all ranks. The last
    /// batch may be smaller.
    ///
    /// # Errors
    ///
    /// `batch` is 0, or there are more samples than a `u32` can number.
    pub fn new(samples: usize, batch: usize) -> Result<Self> {
        if u32::try_from(samples).is_err() {
            return Err(Error::count("samples", samples, "at most 4294967295"));
        }
        let batch = at_least_1("batch", batch)?;
        Ok(Self { samples, batch, last: Last::Kept, keeps_ranks: false })
    }

    /// Keeps the last batch as small as it is: the default, in which an epoch has every sample once.
    pub fn keep_last(self) -> Self {
        Self { last: Last::Kept, ..self }
    }

    /// Drops samples that do not fill a batch: others in each epoch.
    pub fn drop_last(self) -> Self {
        Self { last: Last::Dropped, ..self }
    }

    /// Fills the last batch by samples from the front of the epoch's order, as often as it takes.
    pub fn pad_last(self) -> Self {
        Self { last: Last::Padded, ..self }
    }

    /// Keeps every sample on its rank, for activation caches of each rank's own: each has one stretch of the
    /// samples and shuffles within it. **The order then changes with the number of ranks**; with one rank it is that
    /// of the default. A rank that has no sample has none to fill up with.
    pub fn keeping_ranks(self) -> Self {
        Self { keeps_ranks: true, ..self }
    }

    /// The batches of an epoch, for [`Training::length`](super::Training::length).
    pub fn batches_in_epoch(&self) -> usize {
        match self.last {
            Last::Dropped => self.samples / self.batch,
            Last::Kept | Last::Padded => self.samples.div_ceil(self.batch),
        }
    }

    /// The share of `rank` of every batch of the epoch that is not done: shares differ by at most one sample, and
    /// may be empty where there are fewer samples than ranks.
    ///
    /// # Errors
    ///
    /// `rank` is not below `ranks`, the number of them.
    pub fn batches(
        &self,
        epoch: &Epoch,
        rank: usize,
        ranks: usize,
    ) -> Result<impl Iterator<Item = Vec<u32>> + use<>> {
        if rank >= ranks {
            return Err(Error::count("rank", rank, "less than the number of ranks"));
        }
        let order = self.order(epoch, rank, ranks);
        let (keeps_ranks, batch) = (self.keeps_ranks, self.batch);
        // How many samples of all batches there are.
        let all = match self.last {
            Last::Kept => self.samples,
            Last::Dropped | Last::Padded => self.batches_in_epoch() * batch,
        };
        Ok((epoch.done..self.batches_in_epoch()).map(move |at| {
            let (from, to) = (at * batch, all.min((at + 1) * batch));
            let (from, to) = if keeps_ranks {
                // Samples are dealt out one by one, so that ranks take turns with the odd one.
                (dealt(from, rank, ranks), dealt(to, rank, ranks))
            } else {
                (from + share(to - from, rank, ranks), from + share(to - from, rank + 1, ranks))
            };
            // Nothing repeats an order that is empty.
            (from..to).filter_map(|at| order.get(at % order.len().max(1)).copied()).collect()
        }))
    }

    /// The order of the epoch: of all samples, or of those that stay on the rank.
    fn order(&self, epoch: &Epoch, rank: usize, ranks: usize) -> Vec<u32> {
        let whole = Epoch { done: 0, ..epoch.clone() };
        let mut order = whole.shuffled(self.samples, self.samples).next().unwrap_or_default();
        if self.keeps_ranks {
            let at = |rank| share(self.samples, rank, ranks);
            order.retain(|&sample| (at(rank)..at(rank + 1)).contains(&(sample as usize)));
        }
        order
    }
}

/// Where the share of `rank` begins when `len` samples are cut into one for each of `ranks`, the longer ones first.
fn share(len: usize, rank: usize, ranks: usize) -> usize {
    len / ranks * rank + rank.min(len % ranks)
}

/// How many of the first `len` samples a rank gets when they are dealt out in turns.
fn dealt(len: usize, rank: usize, ranks: usize) -> usize {
    len / ranks + usize::from(rank < len % ranks)
}
