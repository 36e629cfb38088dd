//! What the normalisations share: element types, parallel blocks, kernels over rows and planes.

mod blocks;
pub(super) mod by_channel;
mod element;
mod exp;
mod plane_op;
pub(super) mod planes;
pub(super) mod row_op;
mod rows;
mod sums;

pub(super) use blocks::{for_blocks, rows_per_block, split};
pub(crate) use element::span;
pub(super) use element::{Element, Real, by_dtype, cpu_slice, internal_dtype, slice};
pub(super) use sums::{sum1, sum2};

use candle_core::Result;

use crate::error::Error;

/// Whether a normalisation removes the mean before it divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Center {
    /// `(x - mean) / sqrt(var + eps)`.
    Mean,
    /// `x / sqrt(mean(x^2) + eps)`.
    Zero,
}

impl Center {
    pub(super) fn from_remove_mean(remove_mean: bool) -> Self {
        if remove_mean { Self::Mean } else { Self::Zero }
    }
}

/// Which operands of an operation need a gradient.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) input: bool,
    pub(super) weight: bool,
    pub(super) bias: bool,
}

/// Refuses what no variance can be added to.
pub(super) fn check_eps(eps: f64) -> Result<()> {
    match eps {
        0.0.. if eps.is_finite() => Ok(()),
        _ => {
            Err(Error::Number { name: "eps", value: eps, expected: "a number of at least 0" }
                .into())
        }
    }
}

/// Zero for what only rounding made negative; NaN stays NaN.
fn not_negative(square: f64) -> f64 {
    if square < 0.0 { 0.0 } else { square }
}
