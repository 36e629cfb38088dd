//! The rectifier, `max(x, 0)`, as several kernels end with it.

use super::Real;

/// `x` unless it is below 0, so NaN stays NaN.
#[inline(always)]
pub(crate) fn rectified<R: Real>(x: R) -> R {
    if x < R::ZERO { R::ZERO } else { x }
}

/// The gradient where `x >= 0`; elsewhere 0 times it, so that what is not finite shows.
#[inline(always)]
pub(crate) fn passed<R: Real>(x: R, grad: R) -> R {
    (if x >= R::ZERO { R::one() } else { R::ZERO }) * grad
}
