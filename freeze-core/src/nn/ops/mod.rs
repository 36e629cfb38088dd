//! Operations that compute gradients only for their tracked operands.
//!
//! Each is a candle `CustomOp`, with kernels of this crate's on the CPU and on CUDA; on other devices the same results
//! are composed of candle's operations.

mod activation;
mod affine;
mod attention;
mod bias;
mod binary;
pub(super) mod captured;
mod conv;
mod elements;
pub(super) mod embedding;
pub(crate) mod held;
mod left;
mod linear;
mod links;
pub(super) mod node;
pub(super) mod norm;
pub(super) mod nothing;
pub(super) mod operation;
mod pool;
mod prelu;
pub(crate) mod released;
mod rope;
mod shape;
mod stand_in;
mod sums;

pub use activation::{gelu, gelu_erf, relu, sigmoid, silu, tanh};
pub use affine::affine;
pub use attention::{
    AttentionMask, attention_side_by_side, scaled_dot_product_attention,
    scaled_dot_product_attention_dropout,
};
pub use bias::add_bias;
pub use binary::{add, add_relu, mul};
pub use conv::{conv1d, conv2d};
pub use embedding::embedding;
pub use linear::linear;
pub use pool::{
    avg_pool2d, avg_pool2d_with_stride, max_pool2d, max_pool2d_padded, max_pool2d_with_stride,
};
pub use prelu::prelu;
pub use rope::{rope, split_heads_rope};
pub use shape::{flatten_from, merge_heads, split_heads};

pub use super::batch_norm::BatchStatistics;
pub use super::batch_norm::normalize as batch_norm;
pub use super::batch_norm::normalize_by as batch_norm_inference;
pub use super::group_norm::normalize as group_norm;
pub use super::layer_norm::normalize as layer_norm;
pub use super::rms_norm::normalize as rms_norm;
pub use super::softmax::softmax_last_dim;
