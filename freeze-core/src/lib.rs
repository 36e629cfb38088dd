//! Progressive layer freezing for candle: as training goes on, front layers stop training, and their
//! backward work, gradients and optimizer memory disappear.
//!
//! Derive [`Freezable`] on a model, hold it in a [`Freezer`], and call [`LayerFreezing::epoch_end`]
//! after every epoch; or set a [`FreezePlan`] by hand and [`Freezer::apply`] it. Of a loop that is there these lines
//! change:
//!
//! ```
//! # use candle_core::{DType, Device, Tensor};
//! # use candle_nn::{Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear};
//! # use freeze_core::{Elapsed, Freezable, Freezer, LayerFreezing, Result, optim::AdamW};
//! # #[derive(Freezable)]
//! # struct Net { body: Linear, head: Linear }
//! # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
//! # let net = Net { body: linear(8, 8, vb.pp("a"))?, head: linear(8, 2, vb.pp("head"))? };
//! # let batches = [Tensor::ones((4, 8), DType::F32, &Device::Cpu)?];
//! let mut net = Freezer::new(net)?; // `net` derives `Freezable`
//! let mut opt = AdamW::with_names(net.planned_vars(), ParamsAdamW::default())?;
//! let mut freezing = LayerFreezing::new(0.25, 1.0)?;
//! for epoch in 0..8 {
//!     for xs in &batches {
//!         let loss = net.head.forward(&net.body.forward(xs)?)?.sqr()?.mean_all()?;
//!         opt.step(&freezing.backward(&net, &loss)?)?; // instead of `backward_step`
//!     }
//!     freezing.epoch_end(&mut net, &mut [&mut opt], Elapsed::new(epoch + 1, 8))?;
//! }
//! # Ok::<(), freeze_core::Error>(())
//! ```
//!
//! | to | see |
//! |---|---|
//! | freeze layers, by number or by name | [`Freezer::freeze_front`], [`FreezePlan`]; in a view: [`Freezable::freeze_upto`] |
//! | run a whole training loop | [`Training`] |
//! | evaluate, or use the model as a teacher, without recording a graph | [`Freezer::frozen_view`] |
//! | freeze on a schedule | [`LayerFreezing`], [`freeze_layers`], [`policy`] |
//! | use a layer or model that hides its tensors | [`Rebuilt`] |
//! | begin from the same weights every time | [`init::Seeded`] |
//! | load weights from a file, in part or under other names | [`load`] |
//! | train weights that were loaded from a file | [`Freezable::into_trainable`] |
//! | update parameters at the speed of memory, clip, accumulate | [`optim`] |
//! | use any other candle optimizer | [`optim::PerParam`] |
//! | enter a model in the middle, or leave it early | [`Stages`], [`Staged`], [`Flow`] |
//! | store the outputs of frozen layers instead of computing them each epoch | [`ActivationCache`], [`cache`] |
//! | save backward work wherever the frozen layers are | [`nn`] |
//! | find out why a layer does not learn, or what a plan would cost | [`audit`], [`forecast`] |
//! | stop and resume exactly | [`checkpoint`] |
//! | train on several processes | [`parallel`], [`Training::parallel`] |
//! | fine-tune a pretrained model | `models`, with the feature of that name |
//!
//! # Environment
//!
//! On the CPU, loops use the widest SIMD instructions that the processor has; results are
//! bit-identical at every width. `FREEZE_SIMD=baseline`, `avx2` or `avx512` selects one, to compare
//! or to debug; one that the processor does not have is ignored, with one warning through
//! `tracing`. Matrix products choose on their own.
//!
//! `RAYON_NUM_THREADS`, set before the program starts, is the number of threads of every kind: of kernels,
//! of updates, and of candle's own, which `CANDLE_NUM_THREADS` sets apart. No result depends on it, and
//! several trainings in one process share the threads.

#![warn(missing_debug_implementations)]

#[doc(hidden)]
pub mod __private;
pub mod audit;
mod bits;
pub mod cache;
pub mod checkpoint;
#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
pub mod forecast;
pub mod init;
mod kernel;
pub mod load;
mod model;
#[cfg(feature = "models")]
pub mod models;
pub mod nn;
pub mod optim;
pub mod parallel;
mod plan;
pub mod policy;
mod recompute;
pub mod train;

pub use cache::ActivationCache;
pub use error::{Error, Result};
pub use model::{
    At, BatchNormPolicy, Flat, Flow, FlowLayout, FlowRows, Freezable, Freezer, Leaf, LeafTree,
    Mapper, Param, Part, Rebuilt, Role, Skipped, Stage, StageSummary, Staged, Stages, Summary,
    TensorParam, View, Visit, Whole,
};
pub use nn::recompute::recompute;
pub use nn::{backward, backward_once};
pub use plan::{
    Change, Declared, FreezePlan, LeafState, Measured, Measures, Norms, OptimizerState,
    PlanOptimizer, PlannedVar, Prepared, Released, Tie,
};
pub use policy::{Decision, Elapsed, Policy, Reason};
pub use recompute::Recompute;
#[cfg(feature = "tensorboard")]
pub use train::TensorBoard;
#[cfg(feature = "report")]
pub use train::{Comparison, HtmlReport};
pub use train::{
    Csv, EarlyStop, Epoch, JsonLines, LayerFreezing, MetricSink, PlanNow, Report, Training,
    freeze_layers,
};

#[cfg(feature = "derive")]
pub use freeze_derive::{Flow, Freezable};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../freeze-derive/docs/freezable.md")]
#[doc = include_str!("../../freeze-derive/docs/flow.md")]
struct Derives;

#[cfg(doctest)]
#[cfg_attr(feature = "models", doc = include_str!("../../docs/COOKBOOK.md"))]
struct Cookbook;

#[cfg(doctest)]
#[doc = include_str!("../../docs/POLICIES.md")]
struct Policies;
