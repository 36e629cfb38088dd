//! Layers and operations whose backward does only the work that freezing leaves.
//!
//! The layers have the constructors, config structs and tensor names of `candle_nn`'s, so that a
//! model changes over by its `use` lines; [`ops`] holds the bare operations.

pub mod layer_norm;
mod norm;
pub mod ops;
pub mod rms_norm;
mod softmax;

pub use candle_nn::layer_norm::LayerNormConfig;
pub use layer_norm::{LayerNorm, layer_norm, layer_norm_no_bias};
pub use rms_norm::{RmsNorm, rms_norm};
