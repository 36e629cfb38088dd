//! The parametric rectifier, `max(x, 0) + w min(x, 0)`.

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;

use super::ops;
use crate::model::{Freezable, LeafTree, Mapper};

/// A rectifier with a trained slope below zero and the tensor of [`candle_nn::PReLU`], `weight`: one
/// slope for all, or one for each channel.
#[derive(Clone, Debug)]
pub struct PReLU {
    weight: Tensor,
    is_scalar: bool,
}

impl PReLU {
    /// A layer over the given slopes; the signature is candle-nn's.
    pub fn new(weight: Tensor, is_scalar: bool) -> Self {
        Self { weight, is_scalar }
    }

    /// The slopes.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// Whether there is one slope for all elements.
    pub fn is_scalar(&self) -> bool {
        self.is_scalar
    }
}

impl Module for PReLU {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self.is_scalar {
            true => ops::prelu(x, &self.weight.reshape(())?),
            false => ops::prelu(x, &self.weight),
        }
    }
}

#[diagnostic::do_not_recommend]
impl Freezable for PReLU {
    const LEAVES: LeafTree = LeafTree::leaf("PReLU");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> crate::error::Result<Self> {
        mapper.leaf("PReLU", |mapper| {
            Ok(Self::new(mapper.weight("weight", &self.weight)?, self.is_scalar))
        })
    }
}

impl From<candle_nn::PReLU> for PReLU {
    fn from(layer: candle_nn::PReLU) -> Self {
        Self::new(layer.weight().clone(), layer.is_scalar())
    }
}

/// A layer over `weight` of `vb`: a slope for each of `num_channels` channels, or one for all. The
/// channels are the second dimension of an input.
///
/// # Errors
///
/// `vb` cannot give the tensor.
pub fn prelu(num_channels: Option<usize>, vb: VarBuilder<'_>) -> Result<PReLU> {
    candle_nn::prelu(num_channels, vb).map(PReLU::from)
}
