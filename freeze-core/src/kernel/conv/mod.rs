//! Convolutions as products of matrices.

mod columns;
mod geometry;
mod passes;
mod tap;

pub(crate) use geometry::{Axis, Geometry, Settings};
pub(crate) use passes::{bias_gradient, forward, input_gradient, weight_gradient};
