//! Activations whose backward is one pass.

use candle_core::backend::BackendStorage;
use candle_core::op::{Gelu, GeluErf, Relu, UnaryOpT};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::cpu::{Real, tensor, with, with_real, zip_map};
use super::device::accelerators1;
use crate::nn::record;

/// `max(x, 0)`. The gradient passes where `x >= 0`, as in candle.
///
/// # Errors
///
/// `x` is not a tensor of floating point numbers.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    record::apply1(&x.contiguous()?, Activation(Kind::Relu))
}

/// `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`, the approximation of Hendrycks and Gimpel (2016).
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
    /// candle's own forward, on any device.
    fn forward<S: BackendStorage>(&self, x: &S, layout: &Layout) -> Result<(S, Shape)> {
        let y = match self.0 {
            Kind::Relu => x.unary_impl::<Relu>(layout)?,
            Kind::Gelu => x.unary_impl::<Gelu>(layout)?,
            Kind::GeluErf => x.unary_impl::<GeluErf>(layout)?,
        };
        Ok((y, layout.shape().clone()))
    }

    /// The derivative at `x`.
    fn slope<T: Real>(kind: Kind, x: T) -> T {
        let one = T::one();
        let of = T::from_f64;
        match kind {
            Kind::Relu if x >= T::zero() => one,
            Kind::Relu => T::zero(),
            Kind::Gelu => {
                let square = x * x;
                let inner = of(SQRT_2_OVER_PI) * x * (one + of(CUBIC) * square);
                let tanh = inner.tanh();
                let inner_slope = of(SQRT_2_OVER_PI) * (one + of(3. * CUBIC) * square);
                of(0.5) * (one + tanh + x * (one - tanh * tanh) * inner_slope)
            }
            Kind::GeluErf => {
                let density = of(0.5 * SQRT_2_OVER_PI) * (of(-0.5) * x * x).exp_of_negative();
                of(0.5) * (one + (x * of(std::f64::consts::FRAC_1_SQRT_2)).erf()) + x * density
            }
        }
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
        if !x.device().is_cpu() {
            return Self::portable_slope(self.0, &x)? * grad;
        }
        // One loop for each kind, so that no element asks which it is.
        with_real!(x.dtype(), T => {
            let dx = with(&x, |x: &[T]| with(&grad, |grad: &[T]| Ok(match self.0 {
                Kind::Relu => zip_map(x, grad, |x, g| Self::slope(Kind::Relu, x) * g),
                Kind::Gelu => zip_map(x, grad, |x, g| Self::slope(Kind::Gelu, x) * g),
                Kind::GeluErf => zip_map(x, grad, |x, g| Self::slope(Kind::GeluErf, x) * g),
            })))?;
            tensor(dx, x.shape(), x.dtype())
        })
    }
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
        self.forward(x, layout)
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
