//! The PReLU layer (He et al., 2015): `max(x, 0) + w min(x, 0)`, with one learned slope `w` for all
//! channels or one for each.

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;

use super::newtype::newtype;
use super::ops;

/// A rectifier with a trained slope for negative numbers. Its tensor is that of
/// [`candle_nn::PReLU`], `weight`: one slope for all, or one for each channel.
#[derive(Clone, Debug)]
pub struct PReLU(candle_nn::PReLU);

impl PReLU {
    /// A layer over the given slopes; the signature is candle-nn's.
    pub fn new(weight: Tensor, is_scalar: bool) -> Self {
        Self(candle_nn::PReLU::new(weight, is_scalar))
    }

    /// The slopes.
    pub fn weight(&self) -> &Tensor {
        self.0.weight()
    }

    /// Whether there is one slope for all elements.
    pub fn is_scalar(&self) -> bool {
        self.0.is_scalar()
    }
}

impl Module for PReLU {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self.is_scalar() {
            true if self.weight().elem_count() != 1 => ops::prelu(x, &self.weight().reshape(())?),
            _ => ops::prelu(x, self.weight()),
        }
    }
}

newtype!(PReLU);

/// A layer over `weight` of `vb`: a slope for each of `num_channels` channels, or one for all. The
/// channels are the second dimension of an input.
///
/// # Errors
///
/// `vb` cannot give the tensor.
pub fn prelu(num_channels: Option<usize>, vb: VarBuilder<'_>) -> Result<PReLU> {
    candle_nn::prelu(num_channels, vb).map(PReLU)
}
