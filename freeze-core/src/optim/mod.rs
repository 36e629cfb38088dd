//! Optimizers that follow a freeze plan: the state of a parameter is freed when it freezes and
//! allocated again when it thaws.

mod accumulate;
mod adam;
mod candle_sgd;
mod clip;
mod fused;
mod groups;
mod look;
pub mod lr;
mod measured;
mod names;
mod no_gradient;
mod per_param;
mod plan;
mod rule;
#[cfg(test)]
mod rule_tests;
mod settings;
mod sgd;
mod share;
mod slot;
mod state;
mod step;

pub use accumulate::GradAccumulator;
pub(crate) use accumulate::SavedSum;
pub use adam::{Adam, AdamW, ParamsAdam};
pub(crate) use clip::{apply_map, check_clip};
pub use clip::{clip_grad_norm, clip_grad_value, grad_norm};
pub use fused::Fused;
pub use groups::ParamGroups;
pub(crate) use look::{Look, unfit};
pub(crate) use no_gradient::reached_nothing;
pub use per_param::PerParam;
pub use rule::UpdateRule;
pub use settings::{MasterWeights, NonFinite};
pub use sgd::{Momentum, ParamsSgd, Sgd};

pub use crate::plan::{
    GradClip, OptimizerState, PlanOptimizer, PlannedVar, Prepared, Released, StatePolicy,
};
