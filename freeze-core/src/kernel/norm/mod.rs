//! Normalisation by statistics of the elements themselves, of rows and of planes.

pub(crate) mod across;
pub(crate) mod by_planes;
pub(crate) mod planes;
pub(crate) mod rows;

/// Whether a normalisation removes the mean before it divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Center {
    /// `(x - mean) / sqrt(var + eps)`.
    Mean,
    /// `x / sqrt(mean(x^2) + eps)`.
    Zero,
}

impl Center {
    pub(crate) fn from_remove_mean(remove_mean: bool) -> Self {
        if remove_mean { Self::Mean } else { Self::Zero }
    }
}

/// Zero for what only rounding made negative; NaN stays NaN.
fn not_negative(square: f64) -> f64 {
    if square < 0.0 { 0.0 } else { square }
}
