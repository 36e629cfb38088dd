//! Stop and resume without a trace: one safetensors file with all that a run is made of.
//!
//! A [`Checkpoint`] lists the parts of a run once, for saving and for resuming: model, plan and
//! base plan, optimizers, schedule, random generators, accumulated gradients, metrics, progress.
//! The generators of the model's own [`Dropout`](crate::nn::Dropout)s are saved with it, by their
//! paths; one in a skipped field or inside a [`Rebuilt`](crate::Rebuilt) must be added by name. On
//! the same device with the same number of threads, a resumed run is bit-identical to one that was
//! not interrupted, whether it was stopped before or after layers froze, between epochs or within
//! one.
//!
//! ```
//! use candle_core::{DType, Device};
//! use candle_nn::{Linear, ParamsAdamW, VarBuilder, VarMap, linear};
//! use freeze_core::checkpoint::{Checkpoint, Resumed};
//! use freeze_core::optim::AdamW;
//! use freeze_core::{Elapsed, Freezable, Freezer, LayerFreezing};
//! use rand::SeedableRng;
//! use rand_chacha::ChaCha8Rng;
//!
//! #[derive(Freezable)]
//! struct Net {
//!     body: Linear,
//!     head: Linear,
//! }
//!
//! struct Run {
//!     net: Freezer<Net>,
//!     opt: AdamW,
//!     hook: LayerFreezing,
//!     shuffle: ChaCha8Rng,
//! }
//!
//! impl Run {
//!     fn new() -> freeze_core::Result<Self> {
//!         let map = VarMap::new();
//!         let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
//!         let net = Net { body: linear(4, 4, vb.pp("body"))?, head: linear(4, 2, vb.pp("head"))? };
//!         let net = Freezer::new(net)?;
//!         let opt = AdamW::with_names(net.planned_vars(), ParamsAdamW::default())?;
//!         let shuffle = ChaCha8Rng::seed_from_u64(0);
//!         Ok(Self { net, opt, hook: LayerFreezing::new(0.5, 1.0)?, shuffle })
//!     }
//!
//!     fn checkpoint(&mut self) -> Checkpoint<'_, Net> {
//!         let parts = Checkpoint::of(&mut self.net)
//!             .optimizer(&mut self.opt)
//!             .random("shuffle", &mut self.shuffle);
//!         self.hook.registered_in(parts)
//!     }
//! }
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("run.safetensors");
//! let mut run = Run::new()?;
//! run.checkpoint().progress(Elapsed::new(3, 10)).save(&path)?;
//!
//! let mut later = Run::new()?; // other random weights
//! let resumed = later.checkpoint().resume(&path)?;
//! assert_eq!(resumed.progress.epoch, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To stop within an epoch, save the shuffling generator as it was at the start of the epoch, draw
//! the epoch's order from it again, and skip the batches that are done according to [`Resumed`].
//!
//! # The file
//!
//! Any safetensors reader can open it, and loading it cannot run code. `model/NAME` are the
//! parameters and buffers by field path, `optimizer.0/SLOT/NAME` an optimizer's moments,
//! `random/NAME` a generator's state (MessagePack), `gathered/NAME` gradients summed up since the
//! last step, and `history/..` the columns of the history of metrics. Everything else, such as
//! plan, progress and the dropouts' generators, is JSON in the header under `freeze.state`, next to
//! `freeze.format` and `freeze.checksum`. Every tensor and the header have a checksum (XXH3, 128
//! bits): a changed byte is an error. Settings in code, such as an optimizer's betas or the loss,
//! are not saved.
//!
//! # Memory
//!
//! A header that claims more bytes than the file has, or more than 100 MB, is refused before memory
//! is allocated for it. Reading needs the size of the file, plus that of its largest tensor, plus
//! at most 64 bytes for each byte of the header. Resuming an optimizer needs the size of its state
//! once more, and a history of metrics 64 bytes and the metric's name for each record.

mod archive;
mod atomic;
mod base;
mod best;
mod bytes;
mod columns;
mod dropouts;
mod due;
mod fingerprint;
mod folder;
mod gathered;
mod header;
mod history;
mod manager;
mod names;
mod parts;
pub(crate) mod random;
mod restore;
mod resume;
mod run;
mod save;
mod source;
mod state;
mod verify;
mod weight_file;
mod weights;
mod writer;

#[cfg(feature = "report")]
pub(crate) use atomic::replace as replace_file;
pub use best::Goal;
pub(crate) use bytes::each_chunk;
pub use history::{MetricHistory, Record};
pub use manager::{Latest, Manager};
pub use random::Resumable;
pub(crate) use random::{Registered, from_bytes, to_bytes};
pub use resume::Resumed;
pub use run::Checkpoint;
pub(crate) use save::checksum_of;
pub(crate) use verify::progress_of;
pub use verify::verify;
pub(crate) use weight_file::WeightFile;
pub use weights::{Weights, load_weights, save_weights};
