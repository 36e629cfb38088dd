//! The operations behind the layers: functions of tensors, each with a lean backward.

pub use super::layer_norm::normalize as layer_norm;
pub use super::rms_norm::normalize as rms_norm;
pub use super::softmax::softmax_last_dim;
