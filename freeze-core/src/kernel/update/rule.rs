//! The update of each element.

use candle_core::{Result, Tensor};

#[cfg(any(feature = "cuda", test))]
use super::arguments::Arguments;
use crate::kernel::Real;

/// An update in several forms that give the same numbers.
pub trait ElementRule: Copy + Send + Sync {
    /// Updates slices of equal length in one pass; moments the rule does not keep are empty.
    /// `#[inline(always)]`, to be compiled for every width.
    fn run<T: Real>(&self, theta: &mut [T], grad: &[T], first: &mut [T], second: &mut [T]);

    /// The arguments of the kernel of `fused.cu` that does the same.
    #[cfg(any(feature = "cuda", test))]
    fn arguments(self) -> impl Arguments;

    /// The parameter and the moments after the update, computed by candle operations.
    ///
    /// # Errors
    ///
    /// A candle operation fails.
    fn run_tensors(
        &self,
        theta: &Tensor,
        grad: &Tensor,
        moments: &[Tensor],
    ) -> Result<(Tensor, Vec<Tensor>)>;
}
