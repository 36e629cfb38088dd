//! `y = x wᵀ + b`.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::op::Add;
use candle_core::{CpuStorage, Layout, Result, Shape, Tensor, WithDType, bail};

use super::operation::{Operand, Operation, Reads, Stored, check_dtype, each_wanted};
use super::sums::{rows, sum_rows};
#[cfg(feature = "cuda")]
use crate::kernel::cuda;
use crate::kernel::slices::{overwrite, read, tensor, with2};
use crate::kernel::{
    Matrix, Real, add_to_rows, by_element, by_real, gradient_times_input, real_dtype, sum, zip_map,
};
use crate::nn::backward::buffer;
use crate::nn::record::{self, Work};

/// `x wᵀ + b`: `x` is `[.., in]`, `weight` `[out, in]`, `bias` `[out]`, the result `[.., out]`.
///
/// The backward is one matmul over the flattened leading dimensions for each of `x` and `weight`
/// that is tracked, and a column sum for a tracked `bias`.
///
/// # Errors
///
/// Shapes that do not fit, operands of different dtypes or on different devices.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (out, inner) = weight.dims2()?;
    if x.dims().last() != Some(&inner) {
        bail!(
            "linear: the input {:?} does not end in {inner}, the second dimension of the weight \
             {:?}",
            x.shape(),
            weight.shape()
        );
    }
    match bias {
        None => record::apply([x, weight], Work::Products, LinearOp),
        Some(bias) if bias.dims() == [out] => {
            record::apply([x, weight, bias], Work::Products, LinearOp)
        }
        Some(bias) => bail!(
            "linear: the bias has shape {:?}, expected [{out}], the first dimension of the weight \
             {:?}",
            bias.shape(),
            weight.shape()
        ),
    }
}

/// The operands are an input, a weight and, if there are three, a bias.
struct LinearOp;

impl<const N: usize> Operation<N> for LinearOp {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn shape(&self, operands: [&Layout; N]) -> Result<Shape> {
        let (out, _) = operands[1].shape().dims2()?;
        Ok(Shape::from([leading(operands[0]), &[out]].concat()))
    }

    /// candle's own product runs on rayon's threads, which others can block, under the locks of its
    /// operands, and its addition allocates the result a second time.
    fn cpu(&self, operands: [Operand<'_, CpuStorage>; N]) -> Result<CpuStorage> {
        let x = operands[0].0.dtype();
        for (what, (parameter, _)) in ["the weight", "the bias"].into_iter().zip(&operands[1..]) {
            check_dtype("linear", x, (what, parameter.dtype()))?;
        }
        if OURS { forward(&operands) } else { self.portable(operands) }
    }

    /// The bias is added in place; candle would copy the bias' strides to the card first, and allocate again.
    #[cfg(feature = "cuda")]
    fn cuda(&self, operands: [Operand<'_, CudaStorage>; N]) -> Result<CudaStorage> {
        let y = product(operands[0], operands[1])?;
        if let Some(&bias) = operands.get(2) {
            cuda::linear::add_to_rows(&y, &cuda::operand(bias)?)?;
        }
        Ok(y)
    }

    fn portable<S: Stored>(&self, operands: [Operand<'_, S>; N]) -> Result<S> {
        let y = product(operands[0], operands[1])?;
        match operands.get(2) {
            None => Ok(y),
            Some(&bias) => add(y, &self.shape(operands.map(|(_, layout)| layout))?, bias),
        }
    }

    fn reads(&self, wanted: [bool; N]) -> Reads<N> {
        Reads::of_product(wanted)
    }

    fn gradients(
        &self,
        operands: [&Tensor; N],
        _: &Tensor,
        grad: &Tensor,
        wanted: [bool; N],
    ) -> Result<[Option<Tensor>; N]> {
        let (x, w, grad) = (operands[0], operands[1], rows(grad)?);
        each_wanted(wanted, |place| match place {
            0 => input_gradient(w, &grad)?.reshape(x.shape()),
            1 => weight_gradient(&rows(x)?, &grad),
            _ => sum_rows(&grad),
        })
    }
}

fn forward(operands: &[Operand<'_, CpuStorage>]) -> Result<CpuStorage> {
    let [(x, x_l), (w, w_l)] = [operands[0], operands[1]];
    let (dtype, (out, inner)) = (x.dtype(), w_l.shape().dims2()?);
    let rows = leading(x_l).iter().product();
    let y = by_real!(dtype, T => {
        let (x, w) = (read::<T>(x, x_l)?, read::<T>(w, w_l)?);
        let w = Matrix::new(&w, out, inner).transposed();
        let mut y = Matrix::new(&x, rows, inner).product(w);
        match operands.get(2) {
            Some(&(b, b_l)) if T::DTYPE == dtype => add_to_rows(&mut y, &read(b, b_l)?),
            _ => {}
        }
        T::write(y, dtype)
    });
    match operands.get(2) {
        Some(bias) if real_dtype(dtype) != Some(dtype) => add_to_halves(y, *bias),
        _ => Ok(y),
    }
}

/// The rows of a product in halves and a bias.
fn add_to_halves(y: CpuStorage, (b, b_l): Operand<'_, CpuStorage>) -> Result<CpuStorage> {
    by_element!(y.dtype(), "linear", T => {
        let (y, b) = (T::cpu_storage_data(y)?, read::<T>(b, b_l)?);
        Ok(T::to_cpu_storage_owned(zip_map(&y, &b, sum)))
    })
}

/// All dimensions of the input except the last.
fn leading(x: &Layout) -> &[usize] {
    &x.dims()[..x.dims().len().saturating_sub(1)]
}

/// The product, on any device.
fn product<S: Stored>((x, x_l): Operand<'_, S>, (w, w_l): Operand<'_, S>) -> Result<S> {
    let (n, k) = w_l.shape().dims2()?;
    let m = leading(x_l).iter().product();
    if m * n * k == 0 {
        return x.device().zeros_impl(&Shape::from((m, n)), x.dtype());
    }
    let rows = Layout::contiguous_with_offset((m, k), x_l.start_offset());
    x.matmul(w, (1, m, n, k), &rows, &w_l.transpose(0, 1)?)
}

/// The sum of `y`, of shape `shape`, and a bias along its last dimension.
fn add<S: BackendStorage>(y: S, shape: &Shape, bias: Operand<'_, S>) -> Result<S> {
    y.binary_impl::<Add>(bias.0, &Layout::contiguous(shape), &bias.1.broadcast_as(shape)?)
}

/// `grad w`.
fn input_gradient(w: &Tensor, grad: &Tensor) -> Result<Tensor> {
    if !is_ours(grad) {
        return grad.matmul(w);
    }
    let ((count, out), inner) = (grad.dims2()?, w.dim(1)?);
    by_real!(grad.dtype(), T => {
        let dx = with2([grad, w], |grad: &[T], w: &[T]| {
            let w = Matrix::new(w, out, inner);
            Ok(Matrix::new(grad, count, out).product(w))
        })?;
        tensor(dx, (count, inner), grad.dtype())
    })
}

/// `gradᵀ x`.
fn weight_gradient(x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    if !is_ours(grad) {
        return grad.t()?.matmul(x);
    }
    let ((count, out), inner) = (grad.dims2()?, x.dim(1)?);
    let (sizes, dtype) = ([count, out, inner], grad.dtype());
    by_real!(dtype, T => {
        let product = |to: &mut [T]| {
            with2([grad, x], |grad, x| {
                gradient_times_input(grad, x, sizes, to);
                Ok(())
            })
        };
        // Halves are computed in `f32`, so their product is converted into another tensor.
        if T::DTYPE == dtype && let Some(to) = buffer(&[out, inner], dtype)? {
            overwrite(&to, product)?;
            return Ok(to);
        }
        let mut dw = vec![T::ZERO; out * inner];
        product(&mut dw)?;
        tensor(dw, (out, inner), dtype)
    })
}

/// Whether products on the CPU are computed here: not if candle uses a BLAS library for them.
const OURS: bool = !cfg!(any(feature = "mkl", feature = "accelerate"));

fn is_ours(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && OURS
}
