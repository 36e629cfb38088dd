//! Operations that compute the gradients of their tracked operands and no others.
//!
//! Each is a candle `CustomOp`. On the CPU the kernels are written here where candle's are slow or
//! lack a backward; on other devices the same gradients are put together from candle's operations.

mod bias;
mod conv;
mod cpu;
mod device;
mod linear;

pub use bias::add_bias;
pub use conv::{conv1d, conv2d};
pub use linear::linear;
