//! What a row trains on: a model, samples in three parts, batches of them.

use std::path::PathBuf;

use candle_core::Tensor;
use freeze_core::Staged;
use freeze_core::cache::CacheContext;
use freeze_core::train::Epoch;

use crate::common::Result;

/// Where samples and weights lie.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The four IDX files; the embedded subset without.
    pub(crate) images: Option<PathBuf>,
    /// What `examples/finetune/fetch.sh` fetched.
    pub(crate) texts: PathBuf,
    /// Where the runs of the row's sweep keep what their frozen front puts out.
    pub(crate) kept: PathBuf,
}

/// A part of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    /// Looked at after every epoch; settings are chosen by it.
    Valid,
    /// Looked at once, at the end of a row.
    Test,
}

/// A batch as the model takes it.
pub(crate) struct Batch<C> {
    /// Which sample each row is.
    pub(crate) keys: Vec<u64>,
    pub(crate) inputs: Tensor,
    pub(crate) context: C,
    /// `[batch]`.
    pub(crate) classes: Tensor,
}

/// A model and its samples.
pub(crate) trait Job {
    type Context: CacheContext<Owned = Self::Context> + Clone + Send + Sync + 'static;
    type Net: Staged<Flow = Tensor, Context = Self::Context> + Send + Sync + 'static;

    /// The model at the beginning of a run.
    fn net(&self, seed: u64) -> Result<Self::Net>;

    /// The batches of training samples in the order of an epoch; there are as many in each.
    fn shuffled(&self, epoch: &Epoch) -> Vec<Vec<u32>>;

    /// The batches of a part in a fixed order.
    fn in_order(&self, part: Part) -> Vec<Vec<u32>>;

    /// One batch.
    fn batch(&self, part: Part, which: &[u32]) -> candle_core::Result<Batch<Self::Context>>;
}
