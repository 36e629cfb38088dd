//! How a frozen batch norm normalises.

use serde::{Deserialize, Serialize};

/// The statistics that a frozen batch norm normalises by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchNormPolicy {
    /// Those that the caller's `train` argument selects: the batch's while training, and the
    /// running statistics, which the view shares with the whole model, go on being updated. The
    /// reference does the same, so losses and statistics are equal to its.
    #[default]
    AsCaller,
    /// The running statistics, which are not updated, as in Keras. Only [`nn`](crate::nn) layers
    /// can; candle's own are an error. An [`nn::Dropout`](crate::nn::Dropout) in a struct that is
    /// frozen as a whole is switched off, too.
    Inference,
}
