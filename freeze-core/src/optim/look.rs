//! Checks gradients before anything is updated.

use candle_core::Tensor;

use crate::error::{Result, listed};
use crate::kernel::reduce::{self, Norm};
use crate::kernel::update::GradMap;
use crate::plan::GradClip;

/// The result of one pass over all gradients.
pub(crate) struct Look {
    /// The norm of all of them together, if they are clipped by norm.
    pub(crate) norm: Option<Norm>,
    /// Whether none is infinite or NaN.
    pub(crate) fit: bool,
}

impl Look {
    pub(crate) fn at(grads: &[&Tensor], clip: GradClip) -> Result<Self> {
        if let GradClip::Norm(_) = clip {
            let norm = reduce::norm(grads)?;
            return Ok(Self { norm: Some(norm), fit: norm.is_of_finite() });
        }
        Ok(Self { norm: None, fit: reduce::all_finite(grads)? })
    }

    /// The map that clips the gradients.
    pub(crate) fn map(&self, clip: GradClip) -> GradMap {
        match (clip, self.norm) {
            (GradClip::Norm(bound), Some(norm)) if norm.value() > bound => {
                GradMap::Scale(norm.factor_to(bound))
            }
            (GradClip::Value(bound), _) => GradMap::Clamp(bound),
            _ => GradMap::Identity,
        }
    }
}

/// The names of the gradients that are infinite or NaN.
pub(crate) fn unfit<'a, S: AsRef<str>>(
    named: impl Iterator<Item = (S, &'a Tensor)>,
) -> Result<String> {
    let mut names = Vec::new();
    for (name, grad) in named {
        if !reduce::all_finite(&[grad])? {
            names.push(name);
        }
    }
    Ok(listed(names))
}
