//! Layers whose backward does only the work that freezing leaves.
//!
//! The constructors, config structs and tensor names are candle-nn's, so a model changes its `use`
//! lines and nothing else. candle's own operations compute the gradient of every operand once one of
//! them is tracked: a frozen layer in the middle pays its whole weight gradient, and the first trained
//! layer an input gradient that nobody reads. The [`ops`] here return a gradient for the tracked
//! operands alone, and record nothing where nothing is tracked.

pub mod conv;
pub mod embedding;
pub mod linear;
pub mod ops;
pub mod prelu;

pub use conv::{
    Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, conv1d, conv1d_no_bias, conv2d, conv2d_no_bias,
};
pub use embedding::{Embedding, embedding};
pub use linear::{Linear, linear, linear_b, linear_no_bias};
pub use prelu::{PReLU, prelu};
