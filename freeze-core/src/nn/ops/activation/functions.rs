//! Functions of each element and their derivatives: here in numbers, elsewhere by candle's operations.

use candle_core::op::{Erf, Exp, Gelu, GeluErf, Neg, Recip, Relu, Silu, Tanh, UnaryOpT};
use candle_core::{Layout, Result, Tensor};

#[cfg(feature = "cuda")]
use crate::kernel::cuda;
use crate::kernel::{Element, Real, map, map_stored, passed, rectified};
use crate::nn::ops::operation::{Operand, Stored};

/// A function of one number.
pub(super) trait Function: Send + Sync + 'static {
    const NAME: &'static str;

    /// The same function on a card.
    #[cfg(feature = "cuda")]
    const CUDA: cuda::elements::Function;

    fn value<R: Real>(x: R) -> R;

    /// The function of each element.
    fn values<T: Element>(x: &[T]) -> Vec<T> {
        map(x, value_of::<Self, T::Real>())
    }

    /// The derivative.
    fn slope<R: Real>(x: R) -> R;

    /// The derivative times the gradient. A closure, which is inlined into loops of any width; called through a
    /// function, it would be compiled once, for narrow vectors.
    fn gradient<R: Real>() -> impl Fn(R, R) -> R + Sync {
        #[inline(always)]
        |x, grad| Self::slope(x) * grad
    }

    /// The function by candle's operations.
    fn portable<S: Stored>(x: Operand<'_, S>) -> Result<S>;

    /// The derivative by candle's operations.
    fn portable_slope(x: &Tensor) -> Result<Tensor>;
}

/// [`Function::value`] as a closure, as [`Function::gradient`] is one.
fn value_of<F: Function + ?Sized, R: Real>() -> impl Fn(R) -> R + Sync {
    #[inline(always)]
    |x| F::value(x)
}

pub(super) struct Rectified;
pub(super) struct TanhGelu;
pub(super) struct ErfGelu;
pub(super) struct Swish;
pub(super) struct Sigmoid;
pub(super) struct Tangent;

const SQRT_2_OVER_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
const CUBIC: f64 = 0.044715;

impl Function for Rectified {
    const NAME: &'static str = Relu::NAME;
    #[cfg(feature = "cuda")]
    const CUDA: cuda::elements::Function = cuda::elements::Function::Rectified;

    #[inline(always)]
    fn value<R: Real>(x: R) -> R {
        rectified(x)
    }

    #[inline(always)]
    fn slope<R: Real>(x: R) -> R {
        passed(x, R::one())
    }

    fn portable<S: Stored>((x, layout): Operand<'_, S>) -> Result<S> {
        x.unary_impl::<Relu>(layout)
    }

    fn portable_slope(x: &Tensor) -> Result<Tensor> {
        x.ge(0.)?.to_dtype(x.dtype())
    }
}

impl Function for TanhGelu {
    const NAME: &'static str = Gelu::NAME;
    #[cfg(feature = "cuda")]
    const CUDA: cuda::elements::Function = cuda::elements::Function::TanhGelu;

    #[inline(always)]
    fn value<R: Real>(x: R) -> R {
        let ([over, under], _) = gate(x);
        x * over / under
    }

    #[inline(always)]
    fn slope<R: Real>(x: R) -> R {
        let (one, of, ([over, under], _)) = (R::one(), R::from_f64, gate(x));
        let gate = over / under;
        let twice_inner = of(2. * SQRT_2_OVER_PI) * (one + of(3. * CUBIC) * x * x);
        gate + x * gate * (one - gate) * twice_inner
    }

    fn portable<S: Stored>((x, layout): Operand<'_, S>) -> Result<S> {
        x.unary_impl::<Gelu>(layout)
    }

    fn portable_slope(x: &Tensor) -> Result<Tensor> {
        let square = x.sqr()?;
        let inner = (x * square.affine(CUBIC, 1.)?)?.affine(SQRT_2_OVER_PI, 0.)?;
        let tanh = inner.tanh()?;
        let bend = tanh.sqr()?.affine(-1., 1.)?;
        let inner_slope = square.affine(3. * CUBIC * SQRT_2_OVER_PI, SQRT_2_OVER_PI)?;
        (tanh.affine(1., 1.)? + ((x * bend)? * inner_slope)?)?.affine(0.5, 0.)
    }
}

/// The share of `x` that GELU lets through: that of `2u`, `u = √(2/π) (x + 0.044715 x³)`.
#[inline(always)]
fn gate<R: Real>(x: R) -> ([R; 2], R) {
    let inner = R::from_f64(SQRT_2_OVER_PI) * x * (R::one() + R::from_f64(CUBIC) * x * x);
    share(inner + inner)
}

/// `1 / (1 + e^-x)` as numerator and denominator, and the numerator of what it misses to 1. The argument of
/// the exponential is at most 0, so that it cannot overflow.
#[inline(always)]
fn share<R: Real>(x: R) -> ([R; 2], R) {
    let (one, above) = (R::one(), x > R::zero());
    let power = (if above { R::zero() - x } else { x }).exp_of_negative();
    let (over, rest) = if above { (one, power) } else { (power, one) };
    ([over, one + power], rest)
}

impl Function for ErfGelu {
    const NAME: &'static str = GeluErf::NAME;
    #[cfg(feature = "cuda")]
    const CUDA: cuda::elements::Function = cuda::elements::Function::ErfGelu;

    #[inline(always)]
    fn value<R: Real>(x: R) -> R {
        x.of::<GeluErf>()
    }

    /// As candle's, which computes halves in `f64`.
    fn values<T: Element>(x: &[T]) -> Vec<T> {
        map_stored(x, T::of::<GeluErf>)
    }

    #[inline(always)]
    fn slope<R: Real>(x: R) -> R {
        let of = R::from_f64;
        let density = of(0.5 * SQRT_2_OVER_PI) * (of(-0.5) * x * x).exp_of_negative();
        of(0.5) * (R::one() + (x * of(std::f64::consts::FRAC_1_SQRT_2)).of::<Erf>()) + x * density
    }

    fn portable<S: Stored>((x, layout): Operand<'_, S>) -> Result<S> {
        x.unary_impl::<GeluErf>(layout)
    }

    fn portable_slope(x: &Tensor) -> Result<Tensor> {
        let density = x.sqr()?.affine(-0.5, 0.)?.exp()?.affine(0.5 * SQRT_2_OVER_PI, 0.)?;
        let erf = x.affine(std::f64::consts::FRAC_1_SQRT_2, 0.)?.erf()?;
        erf.affine(0.5, 0.5)? + (x * density)?
    }
}

impl Function for Swish {
    const NAME: &'static str = Silu::NAME;
    #[cfg(feature = "cuda")]
    const CUDA: cuda::elements::Function = cuda::elements::Function::Swish;

    #[inline(always)]
    fn value<R: Real>(x: R) -> R {
        let ([over, under], _) = share(x);
        x * over / under
    }

    /// `s (1 + x (1 - s))`.
    #[inline(always)]
    fn slope<R: Real>(x: R) -> R {
        let ([over, under], rest) = share(x);
        let share = over / under;
        share + x * share * (rest / under)
    }

    fn portable<S: Stored>((x, layout): Operand<'_, S>) -> Result<S> {
        x.unary_impl::<Silu>(layout)
    }

    fn portable_slope(x: &Tensor) -> Result<Tensor> {
        let share = candle_nn::ops::sigmoid(x)?;
        let bend = (x * share.affine(-1., 1.)?)?.affine(1., 1.)?;
        share * bend
    }
}

impl Function for Sigmoid {
    const NAME: &'static str = "sigmoid";
    #[cfg(feature = "cuda")]
    const CUDA: cuda::elements::Function = cuda::elements::Function::Sigmoid;

    #[inline(always)]
    fn value<R: Real>(x: R) -> R {
        let ([over, under], _) = share(x);
        over / under
    }

    #[inline(always)]
    fn slope<R: Real>(x: R) -> R {
        let ([over, under], rest) = share(x);
        over / under * (rest / under)
    }

    fn portable<S: Stored>((x, layout): Operand<'_, S>) -> Result<S> {
        let all = Layout::contiguous(layout.shape());
        let power = x.unary_impl::<Neg>(layout)?.unary_impl::<Exp>(&all)?;
        power.affine(&all, 1., 1.)?.unary_impl::<Recip>(&all)
    }

    fn portable_slope(x: &Tensor) -> Result<Tensor> {
        let share = candle_nn::ops::sigmoid(x)?;
        let rest = share.affine(-1., 1.)?;
        share * rest
    }
}

impl Function for Tangent {
    const NAME: &'static str = Tanh::NAME;
    #[cfg(feature = "cuda")]
    const CUDA: cuda::elements::Function = cuda::elements::Function::Tangent;

    #[inline(always)]
    fn value<R: Real>(x: R) -> R {
        x.tanh()
    }

    /// `4 s (1 - s)`, `s` being the share of `2x`: `1 - tanh²` cancels where the tangent is near 1.
    #[inline(always)]
    fn slope<R: Real>(x: R) -> R {
        let ([over, under], rest) = share(x + x);
        R::from_f64(4.) * (over / under) * (rest / under)
    }

    fn portable<S: Stored>((x, layout): Operand<'_, S>) -> Result<S> {
        x.unary_impl::<Tanh>(layout)
    }

    fn portable_slope(x: &Tensor) -> Result<Tensor> {
        x.tanh()?.sqr()?.affine(-1., 1.)
    }
}
