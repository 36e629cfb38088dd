//! Layers whose backward computes only the gradients that are needed.
//!
//! The constructors, config structs and tensor names are candle-nn's, so for most layers only the `use`
//! lines of a model change; [`Dropout`] takes a seed, and [`Gru`] and [`Lstm`] have names of their own.
//! candle's own operations compute the gradient of every operand as soon as one of them is tracked: a
//! frozen layer in the middle costs its whole weight gradient, and the first trained layer an input
//! gradient that is never used. The [`ops`] here return gradients only for tracked operands, and record
//! nothing if no operand is tracked. They have kernels for the CPU and, with the feature `cuda`, for CUDA. On
//! other devices norms, softmax, attention and dropout are composed of candle's operations: they give the
//! same numbers, but compute every gradient as soon as one operand is tracked.
//!
//! A candle layer converts to its counterpart here by `From`, with the same tensors (`BatchNorm` by
//! `TryFrom`, because candle shows one of its settings only in its `Debug` output). candle's
//! `GroupNorm`, `GRU` and `LSTM` hide their tensors, and its `Dropout` its rate: build those again.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use freeze_core::nn;
//!
//! let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu);
//! let (vector, image) = (ones(&[2])?, ones(&[2, 2, 3, 3])?);
//! nn::Linear::from(candle_nn::Linear::new(ones(&[2, 2])?, Some(vector.clone())));
//! nn::Conv1d::from(candle_nn::Conv1d::new(ones(&[2, 2, 3])?, None, Default::default()));
//! nn::Conv2d::from(candle_nn::Conv2d::new(image, Some(vector.clone()), Default::default()));
//! nn::Embedding::from(candle_nn::Embedding::new(ones(&[5, 2])?, 2));
//! nn::LayerNorm::from(candle_nn::LayerNorm::new(vector.clone(), vector.clone(), 1e-5));
//! nn::RmsNorm::from(candle_nn::RmsNorm::new(vector.clone(), 1e-5));
//! nn::PReLU::from(candle_nn::PReLU::new(vector.clone(), false));
//! let [mean, var] = [vector.clone(), vector];
//! nn::BatchNorm::try_from(candle_nn::BatchNorm::new_no_bias(2, mean, var, 1e-5)?)?;
//! # Ok::<(), freeze_core::Error>(())
//! ```

mod backward;
pub mod batch_norm;
mod batch_norm_layer;
pub mod conv;
pub mod dropout;
pub mod embedding;
pub mod group_norm;
pub mod layer_norm;
pub mod linear;
mod loss;
pub mod multi_head_attention;
mod newtype;
pub mod ops;
pub mod prelu;
pub(crate) mod recompute;
pub(crate) mod record;
pub mod rms_norm;
pub mod rnn;
mod softmax;

pub(crate) use backward::{Buffers, Graph, backward_into, hand_over, survey};
pub use backward::{backward, backward_once};
pub use batch_norm_layer::{BatchNorm, batch_norm};
pub use candle_nn::batch_norm::BatchNormConfig;
pub use candle_nn::layer_norm::LayerNormConfig;
pub use candle_nn::rnn::{GRUConfig, GRUState, LSTMConfig, LSTMState, RNN};
pub use conv::{
    Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, conv1d, conv1d_no_bias, conv2d, conv2d_no_bias,
};
pub use dropout::Dropout;
pub use embedding::{Embedding, embedding};
pub use group_norm::{GroupNorm, group_norm};
pub use layer_norm::{LayerNorm, layer_norm, layer_norm_no_bias};
pub use linear::{Linear, linear, linear_b, linear_no_bias};
pub use loss::{CrossEntropy, cross_entropy};
pub use multi_head_attention::{
    MultiHeadAttention, MultiHeadAttentionConfig, multi_head_attention, multi_head_attention_named,
};
pub use prelu::{PReLU, prelu};
pub use recompute::recompute;
pub use rms_norm::{RmsNorm, rms_norm};
pub use rnn::{Gru, Lstm, gru, lstm};

pub use crate::model::DropoutState;
