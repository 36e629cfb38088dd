//! Progressive layer freezing for candle: as training goes on, front layers stop training, and their
//! backward work, gradients and optimizer memory disappear.
//!
//! Derive [`Freezable`] on a model, hold it in a [`Freezer`], and call [`LayerFreezing::epoch_end`]
//! after every epoch; or set a [`FreezePlan`] by hand and [`Freezer::apply`] it. The README of the
//! project shows both.
//!
//! | to | see |
//! |---|---|
//! | freeze layers, by number or by name | [`Freezer`], [`FreezePlan`], [`Freezable::freeze_upto`] |
//! | run a whole training loop | [`Training`] |
//! | evaluate, teach or judge without a graph, beside the plan | [`Freezer::frozen_view`] |
//! | freeze on a schedule | [`LayerFreezing`], [`freeze_layers`], [`schedule`] |
//! | use a layer or model that hides its tensors | [`Rebuilt`] |
//! | begin from the same weights every time | [`init::Seeded`] |
//! | load weights from a file, in part or under other names | [`load`] |
//! | train weights that were loaded from a file | [`Freezable::into_trainable`] |
//! | update parameters at the speed of memory, clip, accumulate | [`optim`] |
//! | use any other candle optimizer | [`optim::PerParam`] |
//! | save backward work wherever the frozen layers lie | [`nn`] |
//! | find out why a layer does not learn, or what a plan would cost | [`audit`], [`forecast`] |
//! | stop and resume exactly | [`checkpoint`] |

#![warn(missing_debug_implementations)]
pub mod audit;
mod bits;
mod change;
pub mod checkpoint;
mod containers;
mod declared;
mod error;
pub mod forecast;
mod freezable;
mod freezer;
mod hook;
pub mod init;
mod inspect;
mod inventory;
mod layers;
mod layout;
pub mod load;
mod mapper;
mod metrics;
pub mod nn;
pub mod optim;
mod plan;
mod raw;
mod rebuilt;
#[doc(hidden)]
pub mod recursion;
pub mod schedule;
mod summary;
mod threads;
pub mod train;
mod view;
mod whole;

pub use change::Change;
pub use containers::{Skipped, TensorParam};
pub use declared::Declared;
pub use error::{Error, Result};
pub use freezable::Freezable;
pub use freezer::Freezer;
pub use hook::{LayerFreezing, Report, freeze_layers};
pub use inspect::{Leaf, Param};
pub use inventory::Tie;
pub use layout::{Layout, Part};
pub use mapper::{At, Mapper, Role, Visit};
pub use metrics::{JsonLines, MetricSink};
pub use optim::{OptimizerState, PlanOptimizer, PlannedVar, Released};
pub use plan::{FreezePlan, LeafState};
pub use rebuilt::Rebuilt;
pub use schedule::{Elapsed, Schedule, Scheduled};
pub use summary::Summary;
pub use train::{EarlyStop, Epoch, Training};
pub use view::View;
pub use whole::Whole;

#[cfg(feature = "derive")]
pub use freeze_derive::Freezable;

/// What a frozen batch norm normalises by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchNormPolicy {
    /// As the caller's `train` argument says: by the batch while training, and the running
    /// statistics, which are the whole model's, go on moving. This is what the reference does, so
    /// losses and statistics are equal to its.
    #[default]
    AsCaller,
    /// By the running statistics, as in Keras, and none of them moves. Only [`nn`] layers can;
    /// candle's own are an error.
    /// An [`nn::Dropout`] in a struct that is frozen as a whole is off, too.
    Inference,
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/COOKBOOK.md")]
struct Cookbook;
