//! The norm of each leaf that an observation shows.

use std::collections::BTreeMap;

use candle_core::DType;

use crate::error::{Error, Result};
use crate::policy::Seen;

/// A norm of one variable, if it was seen.
pub(super) type NormOf = fn(&Seen) -> Result<Option<f64>>;

/// The L2 norm of each leaf by its index: of all its variables that `norm` tells one of.
///
/// # Errors
///
/// A norm is infinite or NaN.
pub(super) fn norms_of_leaves(tensors: &[Seen], norm: NormOf) -> Result<BTreeMap<usize, f64>> {
    let mut norms: BTreeMap<usize, f64> = BTreeMap::new();
    for seen in tensors.iter().filter(|seen| !seen.is_again()) {
        if let Some(norm) = norm(seen)? {
            let sum = norms.entry(seen.leaf()).or_default();
            // It does not square, so that large norms do not become infinite.
            *sum = libm::hypot(*sum, norm);
            if !sum.is_finite() {
                return Err(Error::Observed {
                    name: seen.name().into(),
                    what: "norm",
                    value: *sum,
                });
            }
        }
    }
    Ok(norms)
}

pub(super) fn gradient_norm(seen: &Seen) -> Result<Option<f64>> {
    Ok(seen.gradient_norms()?.map(|norms| norms.l2))
}

pub(super) fn weight_norm(seen: &Seen) -> Result<Option<f64>> {
    Ok(seen.weight_norms()?.map(|norms| norms.l2))
}

/// The norm of the weight itself, before the first step.
pub(super) fn norm_of_tensor(seen: &Seen) -> Result<Option<f64>> {
    let Some(var) = seen.tensor() else { return Ok(None) };
    let squares = var.as_detached_tensor().to_dtype(DType::F64)?.sqr()?.sum_all()?;
    Ok(Some(squares.to_scalar::<f64>()?.sqrt()))
}
