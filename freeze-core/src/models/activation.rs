//! Activations by the names that configurations have for them.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::nn::ops;

/// The function between the two linear layers of a block, `hidden_act` in a `config.json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Activation {
    /// [`ops::gelu_erf`], the exact form.
    #[default]
    #[serde(rename = "gelu")]
    Gelu,
    /// [`ops::gelu`], by a hyperbolic tangent.
    #[serde(
        rename = "gelu_new",
        alias = "gelu_pytorch_tanh",
        alias = "gelu_approximate",
        alias = "geluapproximate"
    )]
    GeluTanh,
    /// [`ops::relu`].
    #[serde(rename = "relu")]
    Relu,
    /// [`ops::silu`].
    #[serde(rename = "silu", alias = "swish")]
    Silu,
    /// [`ops::tanh`].
    #[serde(rename = "tanh")]
    Tanh,
}

impl Activation {
    /// The function of every element.
    ///
    /// # Errors
    ///
    /// `xs` is not a tensor of floating point numbers.
    pub fn forward(self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gelu => ops::gelu_erf(xs),
            Self::GeluTanh => ops::gelu(xs),
            Self::Relu => ops::relu(xs),
            Self::Silu => ops::silu(xs),
            Self::Tanh => ops::tanh(xs),
        }
    }
}
