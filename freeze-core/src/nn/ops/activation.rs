//! Activations of one pass each way, on all threads: candle's run on one.

use candle_core::backend::BackendStorage;
use candle_core::op::{Gelu, GeluErf, Relu, UnaryOpT};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};

use super::cpu::{Real, map, tensor, with, with_real, zip_map};
use super::device::{Stored, accelerators1, nothing};
use crate::nn::norm::span;
use crate::nn::record;

/// `max(x, 0)`. The gradient passes where `x >= 0`, as in candle. NaN stays NaN, on the CPU; candle's is
/// 0.
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    record::apply1(&x.contiguous()?, Activation(Kind::Relu))
}

/// `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`, the approximation of Hendrycks and Gimpel (2016).
///
/// On the CPU it is computed as `x / (1 + e⁻²ᵘ)`, `u` being what the tangent is taken of. Far below 0,
/// where candle's `1 + tanh` cancels, this stays accurate; elsewhere the two differ in the last bits.
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    record::apply1(&x.contiguous()?, Activation(Kind::Gelu))
}

/// `x/2 (1 + erf(x/√2))`, the exact form.
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    record::apply1(&x.contiguous()?, Activation(Kind::GeluErf))
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
    fn forward_cpu(&self, x: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
        match self.0 {
            Kind::Relu => relu_here(x, layout),
            Kind::Gelu => with_real!(x.dtype(), T => {
                Ok(T::write(map(&T::read(x, layout)?, gelu_of), x.dtype()))
            }),
            Kind::GeluErf => by_element::<GeluErf>(x, layout),
        }
    }

    /// candle's own forward, on any device.
    fn forward<S: Stored>(&self, x: &S, layout: &Layout) -> Result<(S, Shape)> {
        if let Some(nothing) = nothing(x, layout.shape())? {
            return Ok(nothing);
        }
        let y = match self.0 {
            Kind::Relu => x.unary_impl::<Relu>(layout)?,
            Kind::Gelu => x.unary_impl::<Gelu>(layout)?,
            Kind::GeluErf => x.unary_impl::<GeluErf>(layout)?,
        };
        Ok((y, layout.shape().clone()))
    }

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

    fn gradient(&self, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (x, grad) = (x.detach(), grad.detach());
        if x.elem_count() == 0 {
            return Ok(grad);
        }
        if !x.device().is_cpu() {
            return Self::portable_slope(self.0, &x)? * grad;
        }
        // One loop for each kind, so that no element asks which it is.
        with_real!(x.dtype(), T => {
            let dx = with(&x, |x: &[T]| with(&grad, |grad: &[T]| Ok(match self.0 {
                Kind::Relu => zip_map(x, grad, |x, g| relu_slope(x) * g),
                Kind::Gelu => zip_map(x, grad, |x, g| gelu_slope(x) * g),
                Kind::GeluErf => zip_map(x, grad, |x, g| gelu_erf_slope(x) * g),
            })))?;
            tensor(dx, x.shape(), x.dtype())
        })
    }
}

/// candle's function for each element.
fn by_element<F: UnaryOpT>(x: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
    let Some(span) = span(layout) else {
        return x.unary_impl::<F>(layout);
    };
    match x {
        CpuStorage::F32(x) => Ok(CpuStorage::F32(map(&x[span], F::f32))),
        CpuStorage::F64(x) => Ok(CpuStorage::F64(map(&x[span], F::f64))),
        CpuStorage::F16(x) => Ok(CpuStorage::F16(map(&x[span], F::f16))),
        CpuStorage::BF16(x) => Ok(CpuStorage::BF16(map(&x[span], F::bf16))),
        _ => x.unary_impl::<F>(layout),
    }
}

/// What is not below 0: NaN too.
fn relu_here(x: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
    fn cut<T: WithDType>(x: &[T]) -> Vec<T> {
        map(x, |x| if x < T::zero() { T::zero() } else { x })
    }
    match (x, span(layout)) {
        (CpuStorage::F32(x), Some(span)) => Ok(CpuStorage::F32(cut(&x[span]))),
        (CpuStorage::F64(x), Some(span)) => Ok(CpuStorage::F64(cut(&x[span]))),
        (CpuStorage::F16(x), Some(span)) => Ok(CpuStorage::F16(cut(&x[span]))),
        (CpuStorage::BF16(x), Some(span)) => Ok(CpuStorage::BF16(cut(&x[span]))),
        _ => x.unary_impl::<Relu>(layout),
    }
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

/// By what GELU multiplies `x`, as numerator and denominator: `1 / (1 + e^(-2u))`,
/// `u = √(2/π) (x + 0.044715 x³)`.
#[inline(always)]
fn gate<T: Real>(x: T) -> [T; 2] {
    let one = T::one();
    let inner = T::from_f64(SQRT_2_OVER_PI) * x * (one + T::from_f64(CUBIC) * x * x);
    // The exponential is of what is at most 0, so that it cannot overflow.
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
    of(0.5) * (T::one() + (x * of(std::f64::consts::FRAC_1_SQRT_2)).erf()) + x * density
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        match self.0 {
            Kind::Relu => Relu::NAME,
            Kind::Gelu => Gelu::NAME,
            Kind::GeluErf => GeluErf::NAME,
        }
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((self.forward_cpu(x, layout)?, layout.shape().clone()))
    }

    accelerators1!(Self::forward);

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.gradient(x, grad).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device::Cpu, Tensor};

    use super::{Activation, Kind};

    #[test]
    fn the_portable_gradient_is_the_kernels() {
        let x = Tensor::new(&[-9f64, -2.5, -1., -1e-3, 0., 1e-3, 0.3, 1., 2.5, 9.], &Cpu).unwrap();
        for kind in [Kind::Relu, Kind::Gelu, Kind::GeluErf] {
            let kernel = Activation(kind).gradient(&x, &x.ones_like().unwrap()).unwrap();
            let portable = Activation::portable_slope(kind, &x).unwrap();
            let off = (kernel - portable).unwrap().abs().unwrap().max(0).unwrap();
            assert!(off.to_scalar::<f64>().unwrap() < 1e-14);
        }
    }
}
