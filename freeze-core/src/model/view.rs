//! The model under a plan that freezing returns.

use std::ops::{Deref, DerefMut};

use candle_core::Tensor;
use candle_nn::Module;

/// A model under a plan: the same storage and running statistics, frozen tensors detached. Derefs
/// to the model; a `Module` if the model is one.
///
/// Taking a view changes nothing, so the compiler warns if one is unused:
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # fn main() -> freeze_core::Result<()> {
/// # use candle_core::{DType, Device};
/// # use candle_nn::{VarBuilder, linear};
/// # use freeze_core::Freezable;
/// let model = linear(2, 2, VarBuilder::zeros(DType::F32, &Device::Cpu))?;
/// model.freeze_upto(1)?; // freezes nothing
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "this is a view; the model that it was taken of stays as it is"]
pub struct View<M>(M);

impl<M> View<M> {
    pub(crate) fn new(model: M) -> Self {
        Self(model)
    }

    /// The model itself.
    pub fn into_inner(self) -> M {
        self.0
    }
}

impl<M> Deref for View<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0
    }
}

/// For models whose forward takes `&mut self`.
impl<M> DerefMut for View<M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.0
    }
}

/// A model that implements only `ModuleT` is called through the deref.
impl<M: Module> Module for View<M> {
    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        self.0.forward(xs)
    }
}
