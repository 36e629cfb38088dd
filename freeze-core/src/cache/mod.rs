//! An activation cache: the outputs of the frozen front, stored per sample, so that its forward runs
//! once per sample instead of once per epoch.
//!
//! With [`Training`](crate::Training) it is one line: `.cache(ActivationCache::new())`, and
//! [`run.forward(&keys, xs, &context)`](crate::Training::forward) in place of the model's forward. The
//! model must be [`Staged`](crate::Staged). `docs/CACHE.md` of the project explains how to choose keys,
//! what is refused, and how large a cache gets.
//!
//! ```
//! use candle_core::{Result, Tensor};
//! use candle_nn::{Linear, Module};
//! use freeze_core::{ActivationCache, Freezable, Freezer, Staged};
//!
//! #[derive(Freezable)]
//! #[freeze(stages)]
//! struct Net {
//!     body: Linear,
//!     head: Linear,
//! }
//!
//! impl Staged for Net {
//!     type Flow = Tensor;
//!     type Context = ();
//!
//!     fn run(&self, stage: NetStage, xs: Tensor, (): &()) -> Result<Tensor> {
//!         match stage {
//!             NetStage::Body => self.body.forward(&xs)?.tanh(),
//!             NetStage::Head => self.head.forward(&xs),
//!         }
//!     }
//! }
//!
//! # use candle_core::{DType, Device};
//! # let vb = candle_nn::VarBuilder::zeros(DType::F32, &Device::Cpu);
//! # let net = Net { body: candle_nn::linear(4, 4, vb.pp("b"))?, head: candle_nn::linear(4, 2, vb.pp("h"))? };
//! # let images = Tensor::ones((3, 4), DType::F32, &Device::Cpu)?;
//! let mut net = Freezer::new(net.into_trainable()?)?;
//! net.freeze_front(1, &mut [])?;
//! let mut cache = ActivationCache::new().memory(1 << 20);
//! for epoch in 0..3 {
//!     let scores = cache.forward(&net, &[17, 4, 99], images.clone(), &())?;
//!     assert_eq!(scores.dims(), [3, 2]);
//! }
//! assert_eq!((cache.stats().misses, cache.stats().hits), (3, 6)); // `body` ran for 3 samples
//! # Ok::<(), freeze_core::Error>(())
//! ```

mod activations;
mod card;
mod class;
mod context;
mod form;
mod forward;
mod front;
mod keeping;
mod part;
mod prints;
mod reading;
mod rounded;
mod samples;
mod seen;
mod settings;
mod shelves;
mod stats;
mod store;
mod through;
mod trial;

pub use activations::ActivationCache;
pub use context::{CacheContext, Shared};
pub use seen::Seen;
pub use settings::{Boundary, Precision};
pub use stats::CacheStats;
pub use store::{KeptFront, clear, list};
