//! Gradient clipping for optimizers without clipping of their own.
//!
//! The optimizers here clip within the step, without a copy: see [`Fused::set_clip`](super::Fused).

use std::collections::HashSet;

use candle_core::{Tensor, Var, backprop::GradStore};

use super::look::Look;
use crate::error::{Error, Result, check_positive};
use crate::kernel::reduce::{self, Norm};
use crate::kernel::update::GradMap;
use crate::plan::GradClip;

/// The norm of the gradients of `vars` together, summed in double precision; a variable given twice
/// counts once.
///
/// # Errors
///
/// candle fails, or a gradient is of a type that does not train.
pub fn grad_norm(grads: &GradStore, vars: &[Var]) -> Result<f64> {
    Ok(norm(grads, vars)?.value())
}

fn norm(grads: &GradStore, vars: &[Var]) -> Result<Norm> {
    let mut seen = HashSet::new();
    let once = vars.iter().filter(|var| seen.insert(var.id()));
    let found: Vec<&Tensor> = once.filter_map(|var| grads.get(var)).collect();
    Ok(reduce::norm(&found)?)
}

/// Scales the gradients of `vars` by one factor, so that their norm together is at most `max`, and
/// returns the norm they had (Pascanu, Mikolov and Bengio 2013, <https://arxiv.org/abs/1211.5063>).
/// Other gradients are neither counted nor changed.
///
/// # Errors
///
/// `max` is not a finite number above 0, a gradient is infinite or NaN, or candle fails; the
/// gradients are untouched then.
pub fn clip_grad_norm(grads: &mut GradStore, vars: &[Var], max: f64) -> Result<f64> {
    check_positive("max", max)?;
    let norm = norm(grads, vars)?;
    if !norm.is_of_finite() {
        return Err(Error::NonFinite { names: format!("{} variables together", vars.len()) });
    }
    let look = Look { norm: Some(norm), fit: true };
    apply_map(grads, vars, look.map(GradClip::Norm(max)))?;
    Ok(norm.value())
}

/// Clamps each element of the gradients of `vars` to plus and minus `max`. NaN stays NaN.
///
/// # Errors
///
/// `max` is not a finite number above 0, or candle fails; the gradients are untouched then.
pub fn clip_grad_value(grads: &mut GradStore, vars: &[Var], max: f64) -> Result<()> {
    check_positive("max", max)?;
    apply_map(grads, vars, GradMap::Clamp(max))
}

/// An error unless the bound is a finite number above 0.
pub(crate) fn check_clip(clip: GradClip) -> Result<()> {
    match clip {
        GradClip::None => Ok(()),
        GradClip::Norm(bound) | GradClip::Value(bound) => check_positive("clip", bound),
    }
}

/// Clips the gradients: all of them, or none if one fails.
pub(crate) fn apply_map(grads: &mut GradStore, vars: &[Var], map: GradMap) -> Result<()> {
    if map == GradMap::Identity {
        return Ok(());
    }
    let found = vars.iter().filter_map(|var| Some((var, grads.get(var)?.detach())));
    let changed = found.map(|(var, grad)| Ok((var, map.apply_tensor(grad)?)));
    for (var, grad) in changed.collect::<candle_core::Result<Vec<_>>>()? {
        grads.insert(var, grad);
    }
    Ok(())
}
