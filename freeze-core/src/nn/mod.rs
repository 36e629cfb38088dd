//! Layers whose backward does only the work that freezing leaves.
//!
//! The constructors, config structs and tensor names are candle-nn's, so a model changes its `use`
//! lines and nothing else. candle's own operations compute the gradient of every operand once one of
//! them is tracked: a frozen layer in the middle pays its whole weight gradient, and the first trained
//! layer an input gradient that nobody reads. The [`ops`] here return a gradient for the tracked
//! operands alone, and record nothing where nothing is tracked.

pub mod linear;
pub mod ops;

pub use linear::{Linear, linear, linear_b, linear_no_bias};
