//! Checks and clips gradients before they are used.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use crate::error::Result;
use crate::kernel::reduce::Norm;
use crate::optim::{GradClip, Look, apply_map, unfit};

/// How gradients are clipped, and whether the optimizer does it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clipping {
    pub(super) clip: GradClip,
    /// Whether the optimizer does it within its step.
    pub(super) within: bool,
}

impl Clipping {
    /// Clips the gradients of `vars`, all of which have one, and returns their norm if they are
    /// clipped by norm; or the names of those that are infinite or NaN.
    pub(super) fn clip(
        self,
        names: &[Arc<str>],
        vars: &[Var],
        grads: &mut GradStore,
    ) -> Result<Result<Option<f64>, String>> {
        let found: Vec<&Tensor> = vars.iter().filter_map(|var| grads.get(var)).collect();
        let look = Look::at(&found, self.clip)?;
        if !look.fit {
            return Ok(Err(unfit(names.iter().zip(found))?));
        }
        if !self.within {
            apply_map(grads, vars, look.map(self.clip))?;
        }
        Ok(Ok(look.norm.map(Norm::value)))
    }
}
