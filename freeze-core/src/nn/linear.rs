//! The linear layer, `y = x wᵀ + b`.
//!
//! ```
//! use candle_core::{Device::Cpu, Module, Tensor, Var};
//! use freeze_core::{Freezable, nn::Linear};
//!
//! # fn main() -> candle_core::Result<()> {
//! let weight = Var::new(&[[1f32, 2.], [3., 4.], [5., 6.]], &Cpu)?;
//! let layer = Linear::new(weight.as_tensor().clone(), None);
//! let x = Tensor::new(&[[10f32, 100.]], &Cpu)?;
//! assert_eq!(layer.forward(&x)?.to_vec2::<f32>()?, [[210., 430., 650.]]);
//! // A frozen view of it is a plain function: no graph.
//! assert!(!layer.freeze_upto(1)?.forward(&x)?.track_op());
//! # Ok(()) }
//! ```

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;

use super::newtype::newtype;
use super::ops;

/// [`candle_nn::Linear`] with a lean backward: `weight` `[out, in]` and, unless left
/// out, `bias` `[out]`.
#[derive(Clone, Debug)]
pub struct Linear(candle_nn::Linear);

impl Linear {
    /// A layer over the given tensors, `[out, in]` and `[out]`.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self(candle_nn::Linear::new(weight, bias))
    }

    /// The weight, `[out, in]`.
    pub fn weight(&self) -> &Tensor {
        self.0.weight()
    }

    /// The bias, `[out]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.0.bias()
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, self.weight(), self.bias())
    }
}

newtype!(Linear);

/// A layer with a bias, from `weight` and `bias` of `vb`, initialised as candle-nn does.
///
/// # Errors
///
/// `vb` cannot give the tensors.
pub fn linear(in_dim: usize, out_dim: usize, vb: VarBuilder<'_>) -> Result<Linear> {
    candle_nn::linear(in_dim, out_dim, vb).map(Linear)
}

/// A layer without a bias, from `weight` of `vb`.
///
/// # Errors
///
/// `vb` cannot give the tensor.
pub fn linear_no_bias(in_dim: usize, out_dim: usize, vb: VarBuilder<'_>) -> Result<Linear> {
    candle_nn::linear_no_bias(in_dim, out_dim, vb).map(Linear)
}

/// [`linear`] or [`linear_no_bias`], as `bias` says: the signature is candle-nn's.
///
/// # Errors
///
/// `vb` cannot give the tensors.
pub fn linear_b(in_dim: usize, out_dim: usize, bias: bool, vb: VarBuilder<'_>) -> Result<Linear> {
    candle_nn::linear_b(in_dim, out_dim, bias, vb).map(Linear)
}
