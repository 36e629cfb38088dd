//! Operations that compute the gradients of their tracked operands and no others.
//!
//! Each is a candle `CustomOp`. On the CPU the kernels are written here where candle's are slow or
//! lack a backward; on other devices the same gradients are put together from candle's operations.

mod activation;
mod bias;
mod conv;
mod cpu;
mod device;
mod linear;
mod pool;
mod prelu;

pub use activation::{gelu, gelu_erf, relu};
pub use bias::add_bias;
pub use conv::{conv1d, conv2d};
pub use linear::linear;
pub use pool::{avg_pool2d, avg_pool2d_with_stride, max_pool2d, max_pool2d_with_stride};
pub use prelu::prelu;
