//! Sums and products of two tensors.

use std::borrow::Cow;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::op::{Add, Mul, Relu};
use candle_core::{CpuStorage, Layout, Result, Shape, Tensor, WithDType};

use super::operation::{Operand, Operation, Reads, Stored, check_dtype, each_wanted};
use super::sums::sum_rows;
#[cfg(feature = "cuda")]
use crate::kernel::cuda::pairs::{self, Pair};
#[cfg(feature = "cuda")]
use crate::kernel::cuda::{on_card, operand, tensor};
use crate::kernel::slices::{read, with2, with3};
use crate::kernel::{
    Element, Real, by_element, internal_dtype, passed, rectified, sum, zip_map, zip3_map,
};
use crate::nn::record::{self, Flops, Work};

/// `a + b`, such as a residual and what it goes around. The shapes are equal, or one is broadcast to the
/// other as in candle's `broadcast_add`.
///
/// The gradients of operands that are not broadcast share their memory with that of the result.
///
/// # Errors
///
/// Shapes that do not fit, or operands of different dtypes or on different devices.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    apply(a, b, Binary::Sum)
}

/// `max(a + b, 0)` in one pass, such as the end of a residual block. Shapes as for [`add`]; at 0 and for
/// NaN as [`relu`](super::relu()).
///
/// # Errors
///
/// As [`add`].
pub fn add_relu(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    apply(a, b, Binary::RectifiedSum)
}

/// `a * b`, element by element. Shapes as for [`add`].
///
/// # Errors
///
/// As [`add`].
pub fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    apply(a, b, Binary::Product)
}

/// Of two tensors that broadcast.
#[derive(Clone, Copy, Debug)]
pub(super) enum Binary {
    Sum,
    RectifiedSum,
    Product,
}

#[cfg(feature = "cuda")]
impl Binary {
    fn pair(self) -> Pair {
        match self {
            Self::Sum => Pair::Sum,
            Self::RectifiedSum => Pair::RectifiedSum,
            Self::Product => Pair::Product,
        }
    }
}

fn apply(a: &Tensor, b: &Tensor, op: Binary) -> Result<Tensor> {
    let shape = a.shape().broadcast_shape_binary_op(b.shape(), Operation::<2>::name(&op))?;
    let each = shape.elem_count() as u64;
    let flops = Flops { forward: each, input: each, weight: 0 };
    record::apply([a, b], Work::Inputs(flops), op)
}

/// Whether an operand's elements, again and again, are all of a result's.
fn cycles(operand: &[usize], result: &[usize]) -> bool {
    let ones = operand.iter().take_while(|size| **size == 1).count();
    result.ends_with(&operand[ones..])
}

/// `f` of each pair of elements of two contiguous operands that broadcast; their order does not matter to it.
fn zip<T: Element>(
    operands: [Operand<'_, CpuStorage>; 2],
    shape: &Shape,
    f: impl Fn(T::Real, T::Real) -> T::Real + Sync,
) -> Result<Vec<T>> {
    let [(a, a_l), (b, b_l)] = arranged(operands, shape)?;
    Ok(zip_map(&read::<T>(a, &a_l)?, &read::<T>(b, &b_l)?, f))
}

/// The operands so that the first has all elements of the result, and those of the second, again and again, are too.
fn arranged<'a>(
    [(a, a_l), (b, b_l)]: [Operand<'a, CpuStorage>; 2],
    shape: &Shape,
) -> Result<[(&'a CpuStorage, Cow<'a, Layout>); 2]> {
    let whole = |dims: &[usize]| dims.iter().product::<usize>() == shape.elem_count();
    if whole(a_l.dims()) && cycles(b_l.dims(), shape.dims()) {
        return Ok([(a, Cow::Borrowed(a_l)), (b, Cow::Borrowed(b_l))]);
    }
    if whole(b_l.dims()) && cycles(a_l.dims(), shape.dims()) {
        return Ok([(b, Cow::Borrowed(b_l)), (a, Cow::Borrowed(a_l))]);
    }
    let [a_l, b_l] = [a_l.broadcast_as(shape)?, b_l.broadcast_as(shape)?];
    Ok([(a, Cow::Owned(a_l)), (b, Cow::Owned(b_l))])
}

#[inline(always)]
fn rectified_sum<R: Real>(a: R, b: R) -> R {
    rectified(a + b)
}

/// The gradient of a rectified sum.
#[inline(always)]
fn passed_sum<R: Real>(a: R, b: R, grad: R) -> R {
    passed(a + b, grad)
}

#[inline(always)]
fn product<R: Real>(a: R, b: R) -> R {
    a * b
}

impl Operation<2> for Binary {
    fn name(&self) -> &'static str {
        match self {
            Self::Sum => "add",
            Self::RectifiedSum => "add_relu",
            Self::Product => "mul",
        }
    }

    fn shape(&self, [a, b]: [&Layout; 2]) -> Result<Shape> {
        a.shape().broadcast_shape_binary_op(b.shape(), Operation::<2>::name(self))
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; 2]) -> Result<CpuStorage> {
        let [(a, a_l), (b, b_l)] = operands;
        let (name, shape) = (Operation::<2>::name(self), self.shape([a_l, b_l])?);
        check_dtype(name, a.dtype(), ("the other operand", b.dtype()))?;
        by_element!(a.dtype(), name, T => Ok(T::to_cpu_storage_owned(match self {
            Self::Sum => zip(operands, &shape, sum)?,
            Self::RectifiedSum => {
                zip(operands, &shape, rectified_sum)?
            }
            Self::Product => zip(operands, &shape, product)?,
        })))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, operands: [Operand<'_, CudaStorage>; 2]) -> Result<CudaStorage> {
        let [(a, a_l), (b, b_l)] = operands;
        let (shape, device) = (self.shape([a_l, b_l])?, &a.device);
        let both = [(operand((a, a_l))?, a_l.dims()), (operand((b, b_l))?, b_l.dims())];
        match pairs::paired(both, shape.dims()) {
            Some(paired) => pairs::pairs(device, self.pair(), paired),
            None => self.portable(operands),
        }
    }

    fn portable<S: Stored>(&self, [(a, a_l), (b, b_l)]: [Operand<'_, S>; 2]) -> Result<S> {
        let shape = self.shape([a_l, b_l])?;
        let [a_l, b_l] = [a_l.broadcast_as(&shape)?, b_l.broadcast_as(&shape)?];
        match self {
            Self::Sum => a.binary_impl::<Add>(b, &a_l, &b_l),
            Self::RectifiedSum => {
                let sum = a.binary_impl::<Add>(b, &a_l, &b_l)?;
                sum.unary_impl::<Relu>(&Layout::contiguous(shape))
            }
            Self::Product => a.binary_impl::<Mul>(b, &a_l, &b_l),
        }
    }

    fn reads(&self, wanted: [bool; 2]) -> Reads<2> {
        match self {
            Self::Sum => Reads::NOTHING,
            Self::RectifiedSum => Reads::OPERANDS,
            Self::Product => Reads::of_product(wanted),
        }
    }

    fn gradients(
        &self,
        [a, b]: [&Tensor; 2],
        _: &Tensor,
        grad: &Tensor,
        wanted: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        let whole = match self {
            Self::RectifiedSum => gradient_of_sum(a, b, grad)?,
            Self::Sum | Self::Product => grad.clone(),
        };
        each_wanted(wanted, |place| {
            let (operand, other) = if place == 0 { (a, b) } else { (b, a) };
            match self {
                Self::Product => reduced(times(grad, other)?, operand),
                Self::Sum | Self::RectifiedSum => reduced(whole.clone(), operand),
            }
        })
    }
}

/// The gradient where the sum is not below 0.
fn gradient_of_sum(a: &Tensor, b: &Tensor, grad: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if grad.device().is_cuda() {
        let dx = on_card([a, b, grad], |device, [x, y, g]| {
            pairs::paired([(x, a.dims()), (y, b.dims())], grad.dims())
                .map(|paired| pairs::pair_gradients(device, Pair::RectifiedSum, paired, g))
                .transpose()
        })?;
        if let Some(dx) = dx {
            return Ok(tensor(dx, grad.shape()));
        }
    }
    let [a, b] = [a.broadcast_as(grad.shape())?, b.broadcast_as(grad.shape())?];
    if !grad.device().is_cpu() {
        return (a + b)?.ge(0.)?.to_dtype(grad.dtype())? * grad;
    }
    by_element!(grad.dtype(), "add_relu", T => {
        let dx = with3([&a, &b, grad], |a: &[T], b: &[T], grad: &[T]| {
            Ok(zip3_map([a, b, grad], passed_sum))
        })?;
        Tensor::from_vec(dx, grad.shape(), grad.device())
    })
}

/// `grad` times an operand that is broadcast to it.
fn times(grad: &Tensor, other: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if grad.device().is_cuda() {
        let product = on_card([grad, other], |device, [grad_of, of]| {
            pairs::paired([(grad_of, grad.dims()), (of, other.dims())], grad.dims())
                .map(|paired| pairs::pairs(device, Pair::Product, paired))
                .transpose()
        })?;
        if let Some(product) = product {
            return Ok(tensor(product, grad.shape()));
        }
    }
    if !grad.device().is_cpu() {
        return grad.broadcast_mul(other);
    }
    let whole = match cycles(other.dims(), grad.dims()) {
        true => other.clone(),
        false => other.broadcast_as(grad.shape())?,
    };
    by_element!(grad.dtype(), "mul", T => {
        let product = with2([grad, &whole], |grad: &[T], other: &[T]| {
            Ok(zip_map(grad, other, product))
        })?;
        Tensor::from_vec(product, grad.shape(), grad.device())
    })
}

/// The sum of a gradient over what an operand was broadcast along. Halves are summed in `f32`.
fn reduced(grad: Tensor, operand: &Tensor) -> Result<Tensor> {
    if grad.dims() == operand.dims() {
        return Ok(grad);
    }
    if operand.elem_count() == 0 || grad.elem_count() == 0 {
        return operand.zeros_like();
    }
    if cycles(operand.dims(), grad.dims()) {
        return sum_rows(&grad.reshape(((), operand.elem_count()))?)?.reshape(operand.shape());
    }
    let mut sums = grad.to_dtype(internal_dtype(grad.dtype()))?;
    let left = grad.rank() - operand.rank();
    for dim in 0..grad.rank() {
        if dim < left || operand.dims()[dim - left] != grad.dims()[dim] {
            sums = sums.sum_keepdim(dim)?;
        }
    }
    sums.to_dtype(grad.dtype())?.reshape(operand.shape())
}

#[cfg(test)]
mod tests {
    use candle_core::Device::Cpu;

    use super::*;
    use crate::nn::ops::operation::tests::portable;

    #[test]
    fn the_portable_way_is_the_kernels() -> Result<()> {
        for (a, b) in [(vec![3, 4], vec![3, 4]), (vec![3, 4], vec![4]), (vec![3, 1], vec![4])] {
            let [a, b] = [a, b].map(|shape| Tensor::randn(0f64, 1., shape, &Cpu));
            let (a, b) = (a?, b?);
            for op in [Binary::Sum, Binary::RectifiedSum, Binary::Product] {
                let found = portable::<2>(&op, [&a, &b])?;
                assert_eq!(found.to_vec2::<f64>()?, apply(&a, &b, op)?.to_vec2::<f64>()?);
            }
        }
        Ok(())
    }
}
