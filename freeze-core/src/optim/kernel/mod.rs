//! The fused update of one parameter, and the two questions asked of its gradient before.
//!
//! A kernel sees each of parameter, gradient and moments once. On the CPU that is a loop over
//! slices, on CUDA one launch, on any other device a few candle operations.

mod by_tensors;
mod cpu;
mod element;
mod fallback;
mod norm;
mod op;
mod probe;
mod state;
mod sum;

pub(crate) use element::{Element, Real};

pub(crate) use cpu::PARALLEL_MIN;
pub(crate) use norm::{Norm, norm};
pub(crate) use op::update;
pub(crate) use probe::all_finite;
pub(crate) use state::{Rows, State};
pub(crate) use sum::add_scaled;

use candle_core::DType;

#[cfg(test)]
pub(crate) use fallback::update as update_by_tensors;

/// The type that the arithmetic for parameters of a type runs in, and the moments are kept in;
/// `None` for a type no optimizer here can train.
pub(crate) fn acc_dtype(dtype: DType) -> Option<DType> {
    match dtype {
        DType::F16 | DType::BF16 | DType::F32 => Some(DType::F32),
        DType::F64 => Some(DType::F64),
        _ => None,
    }
}

/// What a rule asks of `fused.cu`.
#[cfg(any(feature = "cuda", test))]
#[derive(Clone, Debug)]
pub struct CudaUpdate {
    /// The kernel's name without the type.
    pub(crate) kernel: &'static str,
    /// Its arguments after those that all kernels have.
    pub(crate) numbers: Vec<f64>,
}

/// What happens to a gradient on its way into the update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum GradMap {
    /// Nothing.
    Identity,
    /// Multiplied by a number.
    Scale(f64),
    /// Cut off at plus and minus a number.
    Clamp(f64),
}

impl GradMap {
    fn apply<T: Real>(self, grads: &mut [T]) {
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

    pub(crate) fn apply_tensor(
        self,
        grad: candle_core::Tensor,
    ) -> candle_core::Result<candle_core::Tensor> {
        match self {
            Self::Identity => Ok(grad),
            Self::Scale(factor) => grad * factor,
            Self::Clamp(bound) => grad.clamp(-bound, bound),
        }
    }
}

#[cfg(test)]
mod tests;
