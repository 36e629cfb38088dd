//! How a gradient is changed before an update uses it.

use candle_core::{DType, Result, Tensor};

use crate::kernel::slices::number_like;
use crate::kernel::{Real, real_dtype};

/// The change of each element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum GradMap {
    /// No change.
    Identity,
    /// Multiplied by a number.
    Scale(f64),
    /// Clamped to plus and minus a number.
    Clamp(f64),
}

impl GradMap {
    #[inline(always)]
    pub(super) fn apply<T: Real>(self, grads: &mut [T]) {
        match self {
            Self::Identity => {}
            Self::Scale(factor) => {
                let factor = T::from_f64(factor);
                grads.iter_mut().for_each(|g| *g *= factor);
            }
            Self::Clamp(bound) => {
                let (low, high) = (T::from_f64(-bound), T::from_f64(bound));
                let clamp = |g: T| if g > high { high } else { g };
                let clamp = |g: T| if g < low { low } else { clamp(g) };
                grads.iter_mut().for_each(|g| *g = clamp(*g));
            }
        }
    }

    pub(crate) fn apply_tensor(self, grad: Tensor) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(grad),
            Self::Scale(factor) => {
                // In halves the factor itself could become 0.
                let (own, real) = (grad.dtype(), real_dtype(grad.dtype()).unwrap_or(DType::F32));
                (grad.to_dtype(real)? * factor)?.to_dtype(own)
            }
            Self::Clamp(bound) => {
                let number = |number| number_like(number, &grad);
                grad.broadcast_maximum(&number(-bound)?)?.broadcast_minimum(&number(bound)?)
            }
        }
    }

    /// As a factor and a bound, because the kernel on CUDA applies both.
    #[cfg(feature = "cuda")]
    pub(crate) fn scale_and_bound(self) -> (f64, f64) {
        match self {
            Self::Identity => (1.0, f64::INFINITY),
            Self::Scale(factor) => (factor, f64::INFINITY),
            Self::Clamp(bound) => (1.0, bound),
        }
    }
}
