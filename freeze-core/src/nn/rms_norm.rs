//! Root-mean-square normalisation over the last dimension (Zhang and Sennrich, 2019).

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::layer_norm::LayerNormConfig;

use super::layer_norm::{LayerNorm, layer_norm};
use super::ops::norm::row_op::normalize_rows;
use crate::kernel::norm::Center;
use crate::model::{Freezable, LeafTree, Mapper};

/// `x / sqrt(mean(x^2) + eps) * weight` over the last dimension of `x`. `weight` has the size of
/// that dimension and the input's element type; f16 and bf16 compute in f32.
///
/// # Errors
///
/// As [`ops::layer_norm`](super::ops::layer_norm).
pub fn normalize(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    normalize_rows(x, weight, None, eps, Center::Zero)
}

/// Root-mean-square normalisation: `candle_nn::RmsNorm` with a backward.
#[derive(Clone, Debug)]
pub struct RmsNorm(LayerNorm);

impl RmsNorm {
    /// A layer with a weight of the size of the normalised dimension.
    pub fn new(weight: Tensor, eps: f64) -> Self {
        Self(LayerNorm::rms_norm(weight, eps))
    }

    /// The layer as a [`LayerNorm`] that does not remove the mean.
    pub fn into_inner(self) -> LayerNorm {
        self.0
    }

    /// The scale of each position.
    pub fn weight(&self) -> &Tensor {
        self.0.weight()
    }

    /// The number added to the mean square.
    pub fn eps(&self) -> f64 {
        self.0.eps()
    }

    /// The same as `forward`. In candle only this method has a backward; here both have.
    ///
    /// # Errors
    ///
    /// As [`normalize`].
    pub fn forward_diff(&self, xs: &Tensor) -> Result<Tensor> {
        self.0.forward(xs)
    }
}

/// A root-mean-square normalisation over a last dimension of `size`; reads `weight` (or `gamma`).
///
/// # Errors
///
/// The builder has no such tensor, or `eps` is negative or not finite.
pub fn rms_norm(size: usize, eps: f64, vb: VarBuilder<'_>) -> Result<RmsNorm> {
    layer_norm(size, LayerNormConfig { eps, remove_mean: false, affine: false }, vb).map(RmsNorm)
}

impl Module for RmsNorm {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.0.forward(xs)
    }
}

#[diagnostic::do_not_recommend]
impl Freezable for RmsNorm {
    const LEAVES: LeafTree = LeafTree::leaf("RmsNorm");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> crate::error::Result<Self> {
        mapper.leaf("RmsNorm", |mapper| {
            Ok(Self::new(mapper.weight("weight", self.weight())?, self.eps()))
        })
    }
}

impl From<candle_nn::RmsNorm> for RmsNorm {
    fn from(layer: candle_nn::RmsNorm) -> Self {
        Self(layer.into_inner().into())
    }
}
