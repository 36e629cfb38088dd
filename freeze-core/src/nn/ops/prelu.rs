//! PReLU as an operation: `max(x, 0) + w min(x, 0)`.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::op::{Add, Mul, Neg, Relu};
use candle_core::{CpuStorage, Layout, Result, Tensor, bail};

use super::operation::{Operand, Operation, Reads, Stored, check_dtype, each_wanted};
#[cfg(feature = "cuda")]
use crate::kernel::cuda::{
    self, on_card, operand,
    pairs::{self, Pair, Runs},
};
use crate::kernel::pieces::MAP;
use crate::kernel::slices::{read, tensor, with2, with3};
use crate::kernel::{Real, by_real, sum2, wide};
use crate::nn::record::{self, Work};

/// The parametric rectifier: `weight` is one slope, or one for each channel (the second dimension
/// of `x`), or has the shape of `x`. At 0 the derivative is that for negative numbers.
///
/// # Errors
///
/// The number of slopes is none of these, or the operands' dtypes or devices differ.
pub fn prelu(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    spread(x.dims(), weight.dims())?;
    record::apply([x, weight], Work::Elements, Prelu)
}

struct Prelu;

/// The shape in which the slopes broadcast along `x`: 1 except for the dimensions that they have.
fn spread(x: &[usize], weight: &[usize]) -> Result<Vec<usize>> {
    let slopes = weight.iter().product::<usize>();
    match x {
        _ if x == weight => Ok(x.to_vec()),
        &[_, channels, ..] if slopes == channels => {
            Ok((0..x.len()).map(|dim| if dim == 1 { slopes } else { 1 }).collect())
        }
        _ if slopes == 1 => Ok(vec![1; x.len()]),
        _ => bail!(
            "prelu: {slopes} slopes of shape {weight:?} for an input of shape {x:?}; expected one, \
             one for each channel (the second dimension), or the shape of the input"
        ),
    }
}

/// The index of the slope of every element, as runs: samples, slopes, elements that share a slope.
fn runs(x: &[usize], spread: &[usize]) -> (usize, usize, usize) {
    let (slopes, total) = (spread.iter().product::<usize>(), x.iter().product::<usize>());
    match (x == spread, x) {
        (true, _) => (1, slopes, 1),
        (false, &[samples, _, ..]) if slopes != 1 => (samples, slopes, x[2..].iter().product()),
        _ => (1, 1, total),
    }
}

/// How the slopes go with the elements, as a card takes it.
#[cfg(feature = "cuda")]
fn sharing(x: &[usize], weight: &[usize]) -> Result<Runs> {
    let (_, count, run) = runs(x, &spread(x, weight)?);
    Ok(Runs { run, count })
}

/// `value` where `x` is above zero, else `value` times the slope: the result for `value = x`, the
/// gradient of the input for `value = grad`.
#[inline(always)]
fn sloped<T: Real>(x: T, value: T, slope: T) -> T {
    if x > T::zero() { value } else { value * slope }
}

/// `f(x, other, slope)` of every element.
fn map<T: Real>(
    (x, other): (&[T], &[T]),
    weight: &[T],
    inner: usize,
    f: impl Fn(T, T, T) -> T + Sync,
) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    let slope = |index: usize| weight[index / inner % weight.len()];
    let blocks = out.chunks_mut(MAP.grain).enumerate();
    MAP.each(
        x.len(),
        blocks,
        #[inline(always)]
        |(block, out)| {
            let start = block * MAP.grain;
            // Runs of one slope within the block.
            let mut at = 0;
            while at < out.len() {
                let end = ((start + at) / inner + 1) * inner - start;
                let (end, slope) = (end.min(out.len()), slope(start + at));
                let (x, other) = (&x[start + at..start + end], &other[start + at..start + end]);
                for (out, (&x, &other)) in out[at..end].iter_mut().zip(x.iter().zip(other)) {
                    *out = f(x, other, slope);
                }
                at = end;
            }
        },
    );
    out
}

/// The gradient of the slopes: the sum of the smaller of input and zero times the gradient.
fn slope_gradient<T: Real>(x: &[T], grad: &[T], slopes: usize, inner: usize) -> Vec<T> {
    // Zero times a number that is not finite is NaN, which is kept.
    let product = |x: T, grad: T| if x > T::zero() { T::zero() * grad } else { x * grad };
    let mut sums = vec![0.0; slopes];
    for (index, (x, grad)) in x.chunks(inner).zip(grad.chunks(inner)).enumerate() {
        sums[index % slopes] += match (x, grad) {
            (&[x], &[grad]) => product(x, grad).to_f64(),
            _ => wide(
                #[inline(always)]
                || sum2(x, grad, |x, grad| [product(x, grad)])[0],
            ),
        };
    }
    sums.into_iter().map(T::from_f64).collect()
}

impl Prelu {
    fn input(x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let runs = sharing(x.dims(), w.dims())?;
            let dx = on_card([x, w, grad], |device, [x, w, grad]| {
                pairs::pair_gradients(device, Pair::Sloped, (x, (w, runs)), grad)
            })?;
            return Ok(cuda::tensor(dx, x.shape()));
        }
        if !x.device().is_cpu() {
            return Self::portable_input(x, w, grad);
        }
        let (_, _, inner) = runs(x.dims(), &spread(x.dims(), w.dims())?);
        by_real!(x.dtype(), T => {
            let dx = with3([x, grad, w], |x: &[T], grad: &[T], w: &[T]| {
                Ok(map((x, grad), w, inner.max(1), sloped))
            })?;
            tensor(dx, x.shape(), x.dtype())
        })
    }

    fn weight(x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let (samples, slopes, inner) = runs(x.dims(), &spread(x.dims(), w.dims())?);
            let dw = on_card([x, grad], |device, both| {
                pairs::slope_gradient(device, both, [samples, slopes, inner])
            })?;
            return Ok(cuda::tensor(dw, w.shape()));
        }
        if !x.device().is_cpu() {
            return Self::portable_weight(x, w, grad);
        }
        let (_, slopes, inner) = runs(x.dims(), &spread(x.dims(), w.dims())?);
        by_real!(x.dtype(), T => {
            let dw = with2([x, grad], |x: &[T], grad: &[T]| {
                Ok(slope_gradient(x, grad, slopes, inner.max(1)))
            })?;
            tensor(dw, w.shape(), w.dtype())
        })
    }

    fn portable_input(x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let slope = w.reshape(spread(x.dims(), w.dims())?)?;
        x.gt(&x.zeros_like()?)?.where_cond(grad, &grad.broadcast_mul(&slope)?)
    }

    fn portable_weight(x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let mut sums = (x.broadcast_minimum(&x.zeros_like()?)? * grad)?;
        for (dim, slopes) in spread(x.dims(), w.dims())?.into_iter().enumerate() {
            if slopes != x.dims()[dim] {
                sums = sums.sum_keepdim(dim)?;
            }
        }
        sums.reshape(w.shape())
    }
}

impl Operation<2> for Prelu {
    fn name(&self) -> &'static str {
        "prelu"
    }

    fn cpu(&self, [(x, x_l), (w, w_l)]: [Operand<'_, CpuStorage>; 2]) -> Result<CpuStorage> {
        let dtype = x.dtype();
        check_dtype("prelu", dtype, ("the slopes", w.dtype()))?;
        let (_, _, inner) = runs(x_l.dims(), &spread(x_l.dims(), w_l.dims())?);
        by_real!(dtype, T => {
            let (x, w) = (read::<T>(x, x_l)?, read::<T>(w, w_l)?);
            Ok(T::write(map((&x, &x), &w, inner.max(1), sloped), dtype))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, w]: [Operand<'_, CudaStorage>; 2]) -> Result<CudaStorage> {
        let runs = sharing(x.1.dims(), w.1.dims())?;
        pairs::pairs(&x.0.device, Pair::Sloped, (operand(x)?, (operand(w)?, runs)))
    }

    /// `relu(x) - w relu(-x)`.
    fn portable<S: Stored>(&self, [x, w]: [Operand<'_, S>; 2]) -> Result<S> {
        let shape = x.1.shape();
        let all = Layout::contiguous(shape);
        let slopes =
            Layout::contiguous_with_offset(spread(x.1.dims(), w.1.dims())?, w.1.start_offset());
        let below = x.0.unary_impl::<Neg>(x.1)?.unary_impl::<Relu>(&all)?;
        let below = below.binary_impl::<Mul>(w.0, &all, &slopes.broadcast_as(shape)?)?;
        let below = below.unary_impl::<Neg>(&all)?;
        let y = x.0.unary_impl::<Relu>(x.1)?;
        y.binary_impl::<Add>(&below, &all, &all)
    }

    fn reads(&self, _: [bool; 2]) -> Reads<2> {
        Reads::OPERANDS
    }

    fn gradients(
        &self,
        [x, w]: [&Tensor; 2],
        _: &Tensor,
        grad: &Tensor,
        wanted: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        each_wanted(wanted, |place| match place {
            0 => Self::input(x, w, grad),
            _ => Self::weight(x, w, grad),
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device::Cpu, Storage, Tensor, WithDType};

    use super::{Operation, Prelu};

    #[test]
    fn the_portable_way_is_the_kernels() {
        for (x, w) in [(vec![4, 3, 5], vec![3]), (vec![6], vec![]), (vec![2, 3], vec![2, 3])] {
            let [x, w] = [x, w].map(|shape| Tensor::rand(-1f64, 1., shape, &Cpu).unwrap());
            let grad = x.affine(1.7, 0.3).unwrap();
            let same = |kernel: Tensor, portable: Tensor| {
                let off = (kernel - portable).unwrap().abs().unwrap().max_all().unwrap();
                assert!(off.to_scalar::<f64>().unwrap() < 1e-14);
            };
            let portable = Prelu::portable_input(&x, &w, &grad).unwrap();
            same(Prelu::input(&x, &w, &grad).unwrap(), portable);
            let portable = Prelu::portable_weight(&x, &w, &grad).unwrap();
            same(Prelu::weight(&x, &w, &grad).unwrap(), portable);

            let ((xs, xl), (ws, wl)) = (x.storage_and_layout(), w.storage_and_layout());
            let (Storage::Cpu(xs), Storage::Cpu(ws)) = (&*xs, &*ws) else { panic!() };
            let y = Prelu.portable([(xs, xl), (ws, wl)]).unwrap();
            let y = Tensor::from_vec(f64::cpu_storage_data(y).unwrap(), x.shape(), &Cpu).unwrap();
            assert_eq!(y.dtype(), DType::F64);
            same(super::prelu(&x, &w).unwrap(), y);
        }
    }
}
