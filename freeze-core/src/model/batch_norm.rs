//! What freezing makes of a batch norm.

use serde::{Deserialize, Serialize};

/// What a frozen batch norm normalises by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchNormPolicy {
    /// As the caller's `train` argument says: by the batch while training, and the running
    /// statistics, which are the whole model's, go on moving. This is what the reference does, so
    /// losses and statistics are equal to its.
    #[default]
    AsCaller,
    /// By the running statistics, as in Keras, and none of them moves. Only [`nn`](crate::nn) layers can;
    /// candle's own are an error.
    /// An [`nn::Dropout`](crate::nn::Dropout) in a struct that is frozen as a whole is off, too.
    Inference,
}
