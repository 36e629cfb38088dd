//! Activations with one pass each for forward and backward, on all threads; candle's run on one.

use candle_core::backend::BackendStorage;
use candle_core::op::{Erf, Gelu, GeluErf, Relu, UnaryOpT};
use candle_core::{CpuStorage, Result, Tensor, WithDType};

use super::operation::{Operand, Operation, Stored};
use crate::kernel::slices::{read, tensor, with2};
use crate::kernel::{Element, Real, by_element, by_real, map, zip_map};
use crate::nn::record::{self, Work};

/// `max(x, 0)`. The gradient passes where `x >= 0`, as in candle. NaN stays NaN, on the CPU; candle's is
/// 0.
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    record::apply([x], Work::Elements, Activation(Kind::Relu))
}

/// `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`, the approximation of Hendrycks and Gimpel (2016).
///
/// On the CPU it is computed as `x / (1 + e⁻²ᵘ)`, with `u` the argument of tanh. This is accurate
/// far below 0, where candle's `1 + tanh` cancels; elsewhere the two differ in the last bits.
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    record::apply([x], Work::Elements, Activation(Kind::Gelu))
}

/// `x/2 (1 + erf(x/√2))`, the exact form.
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    record::apply([x], Work::Elements, Activation(Kind::GeluErf))
}

#[derive(Clone, Copy)]
enum Kind {
    Relu,
    Gelu,
    GeluErf,
}

struct Activation(Kind);

const SQRT_2_OVER_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
const CUBIC: f64 = 0.044715;

impl Activation {
    /// The derivative by candle's operations.
    fn portable_slope(kind: Kind, x: &Tensor) -> Result<Tensor> {
        match kind {
            Kind::Relu => x.ge(0.)?.to_dtype(x.dtype()),
            Kind::Gelu => {
                let square = x.sqr()?;
                let inner = (x * square.affine(CUBIC, 1.)?)?.affine(SQRT_2_OVER_PI, 0.)?;
                let tanh = inner.tanh()?;
                let bend = tanh.sqr()?.affine(-1., 1.)?;
                let inner_slope = square.affine(3. * CUBIC * SQRT_2_OVER_PI, SQRT_2_OVER_PI)?;
                (tanh.affine(1., 1.)? + ((x * bend)? * inner_slope)?)?.affine(0.5, 0.)
            }
            Kind::GeluErf => {
                let density = x.sqr()?.affine(-0.5, 0.)?.exp()?.affine(0.5 * SQRT_2_OVER_PI, 0.)?;
                let erf = x.affine(std::f64::consts::FRAC_1_SQRT_2, 0.)?.erf()?;
                erf.affine(0.5, 0.5)? + (x * density)?
            }
        }
    }

    /// The derivative times the gradient. One loop for each kind, so that the kind is not checked
    /// per element.
    fn gradient_here(kind: Kind, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        by_real!(x.dtype(), T => {
            let dx = with2([x, grad], |x: &[T], grad: &[T]| Ok(match kind {
                Kind::Relu => zip_map(x, grad, #[inline(always)] |x, g| relu_slope(x) * g),
                Kind::Gelu => zip_map(x, grad, #[inline(always)] |x, g| gelu_slope(x) * g),
                Kind::GeluErf => zip_map(x, grad, #[inline(always)] |x, g| gelu_erf_slope(x) * g),
            }))?;
            tensor(dx, x.shape(), x.dtype())
        })
    }
}

/// `x` unless it is below 0, so NaN stays NaN.
#[inline(always)]
fn relu_of<T: WithDType>(x: T) -> T {
    if x < T::zero() { T::zero() } else { x }
}

#[inline(always)]
fn relu_slope<T: Real>(x: T) -> T {
    if x >= T::zero() { T::one() } else { T::zero() }
}

#[inline(always)]
fn gelu_of<T: Real>(x: T) -> T {
    let [over, under] = gate(x);
    x * over / under
}

/// The factor of `x` in GELU, as numerator and denominator: `1 / (1 + e^(-2u))`,
/// `u = √(2/π) (x + 0.044715 x³)`.
#[inline(always)]
fn gate<T: Real>(x: T) -> [T; 2] {
    let one = T::one();
    let inner = T::from_f64(SQRT_2_OVER_PI) * x * (one + T::from_f64(CUBIC) * x * x);
    // The argument of the exponential is at most 0, so that it cannot overflow.
    let twice = inner + inner;
    let power = (if twice > T::zero() { T::zero() - twice } else { twice }).exp_of_negative();
    [if twice > T::zero() { one } else { power }, one + power]
}

#[inline(always)]
fn gelu_slope<T: Real>(x: T) -> T {
    let (one, of, [over, under]) = (T::one(), T::from_f64, gate(x));
    let gate = over / under;
    let twice_inner = of(2. * SQRT_2_OVER_PI) * (one + of(3. * CUBIC) * x * x);
    gate + x * gate * (one - gate) * twice_inner
}

#[inline(always)]
fn gelu_erf_slope<T: Real>(x: T) -> T {
    let of = T::from_f64;
    let density = of(0.5 * SQRT_2_OVER_PI) * (of(-0.5) * x * x).exp_of_negative();
    of(0.5) * (T::one() + (x * of(std::f64::consts::FRAC_1_SQRT_2)).of::<Erf>()) + x * density
}

impl Operation<1> for Activation {
    fn name(&self) -> &'static str {
        match self.0 {
            Kind::Relu => Relu::NAME,
            Kind::Gelu => Gelu::NAME,
            Kind::GeluErf => GeluErf::NAME,
        }
    }

    fn cpu(&self, [(x, layout)]: [Operand<'_, CpuStorage>; 1]) -> Result<CpuStorage> {
        let dtype = x.dtype();
        match self.0 {
            Kind::Relu => by_element!(dtype, Relu::NAME, T => {
                Ok(T::to_cpu_storage_owned(map(&read(x, layout)?, relu_of::<T>)))
            }),
            Kind::Gelu => by_real!(dtype, T => {
                Ok(T::write(map(&read(x, layout)?, gelu_of::<T>), dtype))
            }),
            Kind::GeluErf => by_element!(dtype, GeluErf::NAME, T => {
                Ok(T::to_cpu_storage_owned(map(&read(x, layout)?, T::of::<GeluErf>)))
            }),
        }
    }

    fn portable<S: Stored>(&self, [(x, layout)]: [Operand<'_, S>; 1]) -> Result<S> {
        match self.0 {
            Kind::Relu => x.unary_impl::<Relu>(layout),
            Kind::Gelu => x.unary_impl::<Gelu>(layout),
            Kind::GeluErf => x.unary_impl::<GeluErf>(layout),
        }
    }

    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        _: &Tensor,
        grad: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(match x.device().is_cpu() {
            true => Self::gradient_here(self.0, x, grad)?,
            false => (Self::portable_slope(self.0, x)? * grad)?,
        })])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device::Cpu, Tensor};

    use super::{Activation, Kind, Work, record};
    use crate::kernel::width::tests::same_at_each_level;

    #[test]
    fn the_portable_gradient_is_the_kernels() {
        let x = Tensor::new(&[-9f64, -2.5, -1., -1e-3, 0., 1e-3, 0.3, 1., 2.5, 9.], &Cpu).unwrap();
        for kind in [Kind::Relu, Kind::Gelu, Kind::GeluErf] {
            let kernel = Activation::gradient_here(kind, &x, &x.ones_like().unwrap()).unwrap();
            let portable = Activation::portable_slope(kind, &x).unwrap();
            let off = (kernel - portable).unwrap().abs().unwrap().max(0).unwrap();
            assert!(off.to_scalar::<f64>().unwrap() < 1e-14);
        }
    }

    #[test]
    fn the_same_bits_at_each_level() {
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            for len in [1, 31, 40_003] {
                let x = Tensor::randn(0f64, 3., len, &Cpu).unwrap();
                let x = x.to_dtype(dtype).unwrap();
                for kind in [Kind::Relu, Kind::Gelu, Kind::GeluErf] {
                    same_at_each_level(&format!("an activation of {len} {dtype:?}"), || {
                        let y = record::apply([&x], Work::Elements, Activation(kind)).unwrap();
                        let dx = Activation::gradient_here(kind, &x, &y).unwrap();
                        let both = Tensor::cat(&[y, dx], 0).unwrap();
                        both.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
                    });
                }
            }
        }
    }
}
