//! The training loop in one struct.
//!
//! [`Training`] holds the parts of a loop: the freezer, the optimizers, the policy that freezes,
//! accumulation, clipping, the learning rate, metrics, checkpoints. It counts epochs and steps and
//! saves everything it holds. The parts are public and can be used on their own in a custom loop;
//! see [`LayerFreezing`].
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use candle_nn::{Linear, Module, ParamsAdamW, VarBuilder, VarMap, linear, loss::mse};
//! use freeze_core::optim::{AdamW, GradClip};
//! use freeze_core::{Freezable, LayerFreezing, Training};
//!
//! #[derive(Freezable)]
//! struct Net {
//!     body: Linear,
//!     head: Linear,
//! }
//!
//! impl Module for Net {
//!     fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
//!         self.head.forward(&self.body.forward(xs)?.tanh()?)
//!     }
//! }
//!
//! # let map = VarMap::new();
//! # let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
//! # let net = Net { body: linear(3, 4, vb.pp("body"))?, head: linear(4, 1, vb.pp("head"))? };
//! # let (x, y) = (Tensor::ones((8, 3), DType::F32, &Device::Cpu)?, Tensor::ones((8, 1), DType::F32, &Device::Cpu)?);
//! # let batch = |which: &[u32]| { let which = Tensor::new(which, &Device::Cpu)?;
//! #     candle_core::Result::Ok((x.index_select(&which, 0)?, y.index_select(&which, 0)?)) };
//! let mut run = Training::new(net)?
//!     .optimizer(|vars| AdamW::with_names(vars, ParamsAdamW::default()))?
//!     .policy(LayerFreezing::new(0.5, 1.0)?)
//!     .clip(GradClip::Norm(1.0))?
//!     .length(4, 2)?;
//! run.resume()?; // from the latest checkpoint, were there a manager
//! while let Some(epoch) = run.next_epoch()? {
//!     for which in epoch.shuffled(8, 4) {
//!         let (x, y) = batch(&which)?;
//!         let loss = mse(&run.model().forward(&x)?, &y)?;
//!         run.step(&loss)?;
//!     }
//!     let valid = run.evaluate(|net| mse(&net.forward(&x)?, &y)?.to_scalar::<f32>())?;
//!     run.epoch_end([("valid/loss", f64::from(valid))])?;
//! }
//! assert_eq!(run.freezer().plan().frozen_leaves(), 1);
//! # Ok::<(), freeze_core::Error>(())
//! ```

mod ahead;
mod build;
mod clipping;
mod clock;
mod driven;
mod eager;
mod end;
mod epoch;
mod forward;
mod generator;
mod gradients;
mod hook;
mod in_backward;
mod keep;
mod length;
mod metrics;
mod next;
mod parallel;
mod plan;
mod ready;
mod report;
mod sampler;
mod seen;
mod shown;
mod shows;
mod step;
mod stop;
mod training;
mod upcoming;
mod update;

pub use driven::TrainOptimizer;
pub use epoch::Epoch;
pub use hook::{LayerFreezing, Observed, Report, freeze_layers};
#[cfg(feature = "tensorboard")]
pub use metrics::TensorBoard;
#[cfg(feature = "report")]
pub use metrics::{Comparison, HtmlReport};
pub use metrics::{Csv, JsonLines, MetricSink, PlanNow};
pub use report::{EpochReport, Progress, Spent, Step};
pub use sampler::Sampler;
pub use stop::{EarlyStop, OnNonFinite, Stopped};
pub use training::Training;
