//! Activations with one pass each for forward and backward, on all threads; candle's run on one, or on
//! threads that spin. On CUDA as on the CPU.

mod functions;

use std::marker::PhantomData;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Tensor, WithDType};

use super::operation::{Operand, Operation, Reads, Stored};
#[cfg(feature = "cuda")]
use crate::kernel::cuda::{elements, on_card, operand, tensor};
use crate::kernel::slices::{read, with2};
use crate::kernel::{by_element, zip_map};
use crate::nn::record::{self, Work};
use functions::{ErfGelu, Function, Rectified, Sigmoid, Swish, Tangent, TanhGelu};

/// `max(x, 0)`. The gradient passes where `x >= 0`, as in candle. NaN stays NaN; candle's is 0.
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    Activation::<Rectified>::apply(x)
}

/// `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`, the approximation of Hendrycks and Gimpel (2016).
///
/// It is computed as `x / (1 + e⁻²ᵘ)`, with `u` the argument of tanh. This is accurate
/// far below 0, where candle's `1 + tanh` cancels; elsewhere the two differ in the last bits.
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    Activation::<TanhGelu>::apply(x)
}

/// `x/2 (1 + erf(x/√2))`, the exact form.
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    Activation::<ErfGelu>::apply(x)
}

/// `x / (1 + e⁻ˣ)`, also called swish (Ramachandran, Zoph and Le, 2017).
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    Activation::<Swish>::apply(x)
}

/// `1 / (1 + e⁻ˣ)`, the logistic function.
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Activation::<Sigmoid>::apply(x)
}

/// The hyperbolic tangent.
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    Activation::<Tangent>::apply(x)
}

struct Activation<F>(PhantomData<F>);

impl<F: Function> Activation<F> {
    fn apply(x: &Tensor) -> Result<Tensor> {
        record::apply([x], Work::Elements, Self(PhantomData))
    }

    /// The derivative times the gradient.
    fn gradient_here(x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        by_element!(x.dtype(), F::NAME, T => {
            let dx = with2([x, grad], |x: &[T], grad: &[T]| {
                Ok(zip_map(x, grad, F::gradient()))
            })?;
            Tensor::from_vec(dx, x.shape(), x.device())
        })
    }
}

impl<F: Function> Operation<1> for Activation<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn cpu(&self, [(x, layout)]: [Operand<'_, CpuStorage>; 1]) -> Result<CpuStorage> {
        by_element!(x.dtype(), F::NAME, T => {
            Ok(T::to_cpu_storage_owned(F::values::<T>(&read(x, layout)?)))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Operand<'_, CudaStorage>; 1]) -> Result<CudaStorage> {
        elements::values(&x.0.device, F::CUDA, operand(x)?)
    }

    fn portable<S: Stored>(&self, [x]: [Operand<'_, S>; 1]) -> Result<S> {
        F::portable(x)
    }

    fn reads(&self, _: [bool; 1]) -> Reads<1> {
        Reads::OPERANDS
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
            let dx =
                on_card([x, grad], |device, [x, grad]| elements::slopes(device, F::CUDA, x, grad))?;
            return Ok([Some(tensor(dx, x.shape()))]);
        }
        Ok([Some(match x.device().is_cpu() {
            true => Self::gradient_here(x, grad)?,
            false => (F::portable_slope(x)? * grad)?,
        })])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device::Cpu, Storage};

    use super::*;
    use crate::kernel::width::tests::same_at_each_level;

    macro_rules! each {
        ($run:ident $arguments:tt) => {
            each!(@ $run $arguments Rectified, TanhGelu, ErfGelu, Swish, Sigmoid, Tangent);
        };
        (@ $run:ident $arguments:tt $($function:ident),*) => { $($run::<$function> $arguments;)* };
    }

    fn portable<F: Function>() {
        let x = Tensor::new(&[-9f64, -2.5, -1., -1e-3, 0., 1e-3, 0.3, 1., 2.5, 9.], &Cpu).unwrap();
        let near = |kernel: Tensor, portable: Tensor| {
            let off = (kernel - portable).unwrap().abs().unwrap().max(0).unwrap();
            assert!(off.to_scalar::<f64>().unwrap() < 1e-14, "{}", F::NAME);
        };
        let kernel = Activation::<F>::gradient_here(&x, &x.ones_like().unwrap()).unwrap();
        near(kernel, F::portable_slope(&x).unwrap());
        let (storage, layout) = x.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { panic!() };
        let y = f64::cpu_storage_data(F::portable((storage, layout)).unwrap()).unwrap();
        near(Activation::<F>::apply(&x).unwrap(), Tensor::from_vec(y, 10, &Cpu).unwrap());
    }

    #[test]
    fn the_portable_way_is_the_kernels() {
        each!(portable());
    }

    fn same_bits<F: Function>(x: &Tensor) {
        same_at_each_level(&format!("{} of {:?}", F::NAME, x), || {
            let y = Activation::<F>::apply(x).unwrap();
            let dx = Activation::<F>::gradient_here(x, &y).unwrap();
            let both = Tensor::cat(&[y, dx], 0).unwrap();
            both.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
        });
    }

    #[test]
    fn the_same_bits_at_each_level() {
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            for len in [1, 31, 40_003] {
                let x = Tensor::randn(0f64, 3., len, &Cpu).unwrap();
                let x = x.to_dtype(dtype).unwrap();
                each!(same_bits(&x));
            }
        }
    }
}
