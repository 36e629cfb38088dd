//! The operations behind the layers: functions of tensors, each with a lean backward.

pub use super::batch_norm::BatchStatistics;
pub use super::batch_norm::normalize as batch_norm;
pub use super::batch_norm::normalize_by as batch_norm_inference;
pub use super::group_norm::normalize as group_norm;
pub use super::layer_norm::normalize as layer_norm;
pub use super::rms_norm::normalize as rms_norm;
pub use super::softmax::softmax_last_dim;
