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
use candle_nn::layer_norm::LayerNormConfig;
use candle_nn::{Init, VarBuilder};

use super::ops::norm::{check_eps, row_op::normalize_rows};
use crate::kernel::norm::Center;
use crate::model::{Freezable, LeafTree, Mapper};

/// `(x - mean) / sqrt(var + eps) * weight + bias` over the last dimension of `x`, with the biased
/// variance. `weight` and `bias` have the size of that dimension and the input's element type.
///
/// The variance is taken about the mean in a second pass, so that a large mean costs no digits; f16
/// and bf16 compute in f32. On the CPU gradients are computed for tracked operands only.
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
pub struct LayerNorm {
    weight: Tensor,
    bias: Option<Tensor>,
    center: Center,
    eps: f64,
}

impl LayerNorm {
    /// With weight and bias, both of the size of the normalised dimension.
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self { weight, bias: Some(bias), center: Center::Mean, eps }
    }

    /// Without a bias.
    pub fn new_no_bias(weight: Tensor, eps: f64) -> Self {
        Self { weight, bias: None, center: Center::Mean, eps }
    }

    /// Without a bias and without removing the mean.
    pub fn rms_norm(weight: Tensor, eps: f64) -> Self {
        Self { weight, bias: None, center: Center::Zero, eps }
    }

    /// The scale of each position.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// What is added at each position.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// What is added to the variance.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// Whether the mean is removed.
    pub fn remove_mean(&self) -> bool {
        self.center == Center::Mean
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
    let get = |names: [&'static str; 2], init| {
        let name = names.into_iter().find(|name| vb.contains_tensor(name)).unwrap_or(names[0]);
        vb.get_with_hints(size, name, Init::Const(init))
    };
    Ok(LayerNorm {
        weight: get(["weight", "gamma"], 1.0)?,
        bias: config.affine.then(|| get(["bias", "beta"], 0.0)).transpose()?,
        center: Center::from_remove_mean(config.remove_mean),
        eps: config.eps,
    })
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
        normalize_rows(xs, &self.weight, self.bias.as_ref(), self.eps, self.center)
    }
}

#[diagnostic::do_not_recommend]
impl Freezable for LayerNorm {
    const LEAVES: LeafTree = LeafTree::leaf("LayerNorm");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> crate::error::Result<Self> {
        mapper.leaf("LayerNorm", |mapper| {
            Ok(Self {
                weight: mapper.weight("weight", &self.weight)?,
                bias: mapper.optional("bias", self.bias.as_ref())?,
                ..*self
            })
        })
    }
}

impl From<candle_nn::LayerNorm> for LayerNorm {
    fn from(layer: candle_nn::LayerNorm) -> Self {
        Self {
            weight: layer.weight().clone(),
            bias: layer.bias().cloned(),
            center: Center::from_remove_mean(layer.remove_mean()),
            eps: layer.eps(),
        }
    }
}
