//! Layer normalisation over the last dimension (Ba, Kiros and Hinton, 2016).
//!
//! ```
//! use candle_core::{Device::Cpu, Module, Tensor, Var};
//! use freeze_core::nn::LayerNorm;
//!
//! let weight = Var::new(&[1f32, 1., 1.], &Cpu)?;
//! let bias = Tensor::new(&[0f32, 0., 0.], &Cpu)?;
//! let layer = LayerNorm::new(weight.as_tensor().clone(), bias, 1e-5);
//! let ys = layer.forward(&Tensor::new(&[[1f32, 2., 3.]], &Cpu)?)?;
//! let grads = ys.sqr()?.sum_all()?.backward()?; // stops at candle's own layer
//! assert!(grads.get(&weight).is_some());
//! # Ok::<(), candle_core::Error>(())
//! ```

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::layer_norm::LayerNormConfig;

use super::ops::norm::{check_eps, row_op::normalize_rows};
use crate::kernel::norm::Center;
use crate::model::layers::layer_norm_of;
use crate::model::{Freezable, LeafTree, Mapper};

/// `(x - mean) / sqrt(var + eps) * weight + bias` over the last dimension of `x`, with the biased
/// variance. `weight` and `bias` have the size of that dimension and the input's element type.
///
/// The variance is computed about the mean in a second pass, so that a large mean loses no
/// precision; f16 and bf16 compute in f32. On the CPU gradients are computed for tracked operands
/// only.
///
/// # Errors
///
/// Shapes or element types that do not fit, an element type other than f32, f64, f16 and bf16, or an
/// `eps` that is negative or not finite.
pub fn normalize(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    normalize_rows(x, weight, bias, eps, Center::Mean)
}

/// Layer normalisation: `candle_nn::LayerNorm` with a backward.
#[derive(Clone, Debug)]
pub struct LayerNorm(candle_nn::LayerNorm);

impl LayerNorm {
    /// A layer with weight and bias, both of the size of the normalised dimension.
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self(candle_nn::LayerNorm::new(weight, bias, eps))
    }

    /// Without a bias.
    pub fn new_no_bias(weight: Tensor, eps: f64) -> Self {
        Self(candle_nn::LayerNorm::new_no_bias(weight, eps))
    }

    /// A layer without a bias that does not remove the mean.
    pub fn rms_norm(weight: Tensor, eps: f64) -> Self {
        Self(candle_nn::LayerNorm::rms_norm(weight, eps))
    }

    /// The scale of each position.
    pub fn weight(&self) -> &Tensor {
        self.0.weight()
    }

    /// The offset of each position.
    pub fn bias(&self) -> Option<&Tensor> {
        self.0.bias()
    }

    /// The number added to the variance.
    pub fn eps(&self) -> f64 {
        self.0.eps()
    }

    /// Whether the mean is removed.
    pub fn remove_mean(&self) -> bool {
        self.0.remove_mean()
    }
}

/// A layer normalisation over a last dimension of `size`; reads `weight` (or `gamma`) and, if the
/// config is affine, `bias` (or `beta`).
///
/// # Errors
///
/// The builder has no such tensors, or `eps` is negative or not finite.
pub fn layer_norm<C: Into<LayerNormConfig>>(
    size: usize,
    config: C,
    vb: VarBuilder<'_>,
) -> Result<LayerNorm> {
    let config = config.into();
    check_eps(config.eps)?;
    candle_nn::layer_norm(size, config, vb).map(LayerNorm)
}

/// A layer normalisation without a bias.
///
/// # Errors
///
/// As [`layer_norm`](fn@layer_norm).
pub fn layer_norm_no_bias(size: usize, eps: f64, vb: VarBuilder<'_>) -> Result<LayerNorm> {
    layer_norm(size, LayerNormConfig { eps, remove_mean: true, affine: false }, vb)
}

impl Module for LayerNorm {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let center = Center::from_remove_mean(self.remove_mean());
        normalize_rows(xs, self.weight(), self.bias(), self.eps(), center)
    }
}

#[diagnostic::do_not_recommend]
impl Freezable for LayerNorm {
    const LEAVES: LeafTree = LeafTree::leaf("LayerNorm");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> crate::error::Result<Self> {
        mapper.leaf("LayerNorm", |mapper| {
            let weight = mapper.weight("weight", self.weight())?;
            let bias = mapper.optional("bias", self.bias())?;
            Ok(Self(layer_norm_of(weight, bias, self.remove_mean(), self.eps())?))
        })
    }
}

impl From<candle_nn::LayerNorm> for LayerNorm {
    fn from(layer: candle_nn::LayerNorm) -> Self {
        Self(layer)
    }
}
