//! `y = factor x + offset` with numbers that are constants.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Tensor, WithDType, bail};

use super::operation::{Operand, Operation, Reads, Stored};
#[cfg(feature = "cuda")]
use crate::kernel::cuda::{elements, on_card, operand, tensor};
use crate::kernel::slices::{read, with};
use crate::kernel::{Element, Real, by_element, map};
use crate::nn::record::{self, Work};

/// `factor * x + offset`, as candle's `affine`.
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn affine(x: &Tensor, factor: f64, offset: f64) -> Result<Tensor> {
    if !x.dtype().is_float() {
        bail!("affine: the input is {:?}, expected floating point numbers", x.dtype());
    }
    record::apply([x], Work::Elements, Affine { factor, offset })
}

struct Affine {
    factor: f64,
    offset: f64,
}

impl Affine {
    fn of<T: Element>(&self, x: &[T], offset: f64) -> Vec<T> {
        let [factor, offset] = [self.factor, offset].map(T::Real::from_f64);
        map(x, line(factor, offset))
    }
}

fn line<R: Real>(factor: R, offset: R) -> impl Fn(R) -> R + Sync {
    #[inline(always)]
    move |x| x * factor + offset
}

impl Operation<1> for Affine {
    fn name(&self) -> &'static str {
        "affine"
    }

    fn cpu(&self, [(x, layout)]: [Operand<'_, CpuStorage>; 1]) -> Result<CpuStorage> {
        by_element!(x.dtype(), "affine", T => {
            Ok(T::to_cpu_storage_owned(self.of::<T>(&read(x, layout)?, self.offset)))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Operand<'_, CudaStorage>; 1]) -> Result<CudaStorage> {
        elements::affine(&x.0.device, operand(x)?, [self.factor, self.offset])
    }

    fn portable<S: Stored>(&self, [(x, layout)]: [Operand<'_, S>; 1]) -> Result<S> {
        x.affine(layout, self.factor, self.offset)
    }

    fn reads(&self, _: [bool; 1]) -> Reads<1> {
        Reads::NOTHING
    }

    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        _: &Tensor,
        grad: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let dx = on_card([grad], |device, [grad]| {
                elements::affine(device, grad, [self.factor, 0.])
            })?;
            return Ok([Some(tensor(dx, x.shape()))]);
        }
        if !x.device().is_cpu() {
            return Ok([Some(grad.affine(self.factor, 0.)?)]);
        }
        by_element!(x.dtype(), "affine", T => {
            let dx = with(grad, |grad: &[T]| Ok(self.of(grad, 0.)))?;
            Ok([Some(Tensor::from_vec(dx, x.shape(), x.device())?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device::Cpu;

    use super::*;
    use crate::nn::ops::operation::tests::portable;

    #[test]
    fn the_portable_way_is_the_kernels() -> Result<()> {
        let x = Tensor::randn(0f64, 1., 9, &Cpu)?;
        let found = portable(&Affine { factor: -2.5, offset: 0.5 }, [&x])?;
        assert_eq!(found.to_vec1::<f64>()?, affine(&x, -2.5, 0.5)?.to_vec1::<f64>()?);
        Ok(())
    }
}
