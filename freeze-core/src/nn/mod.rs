//! Layers and operations whose backward does only the work that freezing leaves.
//!
//! The layers have the constructors, config structs and tensor names of `candle_nn`'s, so that a
//! model changes over by its `use` lines; [`ops`] holds the bare operations.

pub mod batch_norm;
mod batch_norm_layer;
pub mod dropout;
pub mod group_norm;
pub mod layer_norm;
mod norm;
pub mod ops;
pub mod rms_norm;
pub mod rnn;
mod softmax;

pub use batch_norm_layer::{BatchNorm, batch_norm};
pub use candle_nn::batch_norm::BatchNormConfig;
pub use candle_nn::layer_norm::LayerNormConfig;
pub use candle_nn::rnn::{GRUConfig, GRUState, LSTMConfig, LSTMState, RNN};
pub use dropout::{Dropout, DropoutState};
pub use group_norm::{GroupNorm, group_norm};
pub use layer_norm::{LayerNorm, layer_norm, layer_norm_no_bias};
pub use rms_norm::{RmsNorm, rms_norm};
pub use rnn::{Gru, Lstm, gru, lstm};
