//! `y = x wᵀ + b`.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::op::Add;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::bias::{add_in_place, rows, sum_rows};
use super::cpu::{Real, tensor, with, with_real};
use super::device::{Stored, accelerators2, accelerators3};
use crate::nn::record::{self, Work};
use crate::raw::Matrix;
use crate::threads;

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
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        None => record::apply2(&x, &weight, Work::Products, LinearOp),
        Some(bias) if bias.dims() == [out] => {
            record::apply3(&x, (&weight, &bias.contiguous()?), Work::Products, LinearOp)
        }
        Some(bias) => bail!(
            "linear: the bias has shape {:?}, expected [{out}], the first dimension of the weight \
             {:?}",
            bias.shape(),
            weight.shape()
        ),
    }
}

struct LinearOp;

impl LinearOp {
    const NAME: &'static str = "linear";

    /// The product on the CPU. candle's own runs on rayon's threads, which others can block, under the
    /// locks of its operands.
    fn product_here(
        &self,
        x: (&CpuStorage, &Layout),
        w: (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let ((x, x_l), (w, w_l)) = (x, w);
        let dtype = x.dtype();
        if w.dtype() != dtype {
            bail!("linear: the input is {dtype:?}, the weight {:?}", w.dtype());
        }
        if cfg!(any(feature = "mkl", feature = "accelerate")) {
            return self.product((x, x_l), (w, w_l));
        }
        let (out, inner) = w_l.shape().dims2()?;
        let leading = &x_l.dims()[..x_l.dims().len().saturating_sub(1)];
        let (shape, rows) = (Shape::from([leading, &[out]].concat()), leading.iter().product());
        with_real!(dtype, T => {
            let (x, w) = (T::read(x, x_l)?, T::read(w, w_l)?);
            let w = Matrix::new(&w, out, inner).transposed();
            let y = Matrix::new(&x, rows, inner).times_alone(w, threads::count());
            Ok((T::write(y, dtype), shape))
        })
    }

    /// The product, on any device.
    fn product<S: Stored>(&self, x: (&S, &Layout), w: (&S, &Layout)) -> Result<(S, Shape)> {
        let ((x, x_l), (w, w_l)) = (x, w);
        let (n, k) = w_l.shape().dims2()?;
        let leading = &x_l.dims()[..x_l.dims().len().saturating_sub(1)];
        let (shape, m) = (Shape::from([leading, &[n]].concat()), leading.iter().product());
        if m * n * k == 0 {
            return Ok((x.device().zeros_impl(&shape, x.dtype())?, shape));
        }
        let rows = Layout::contiguous_with_offset((m, k), x_l.start_offset());
        Ok((x.matmul(w, (1, m, n, k), &rows, &w_l.transpose(0, 1)?)?, shape))
    }

    /// The product and the bias, on any device.
    fn biased<S: Stored>(
        &self,
        x: (&S, &Layout),
        w: (&S, &Layout),
        b: (&S, &Layout),
    ) -> Result<(S, Shape)> {
        let (y, shape) = self.product(x, w)?;
        if shape.elem_count() == 0 {
            return Ok((y, shape));
        }
        Ok((add(y, &shape, b)?, shape))
    }

    fn input(x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let (grad, w) = (rows(grad)?, w.detach());
        if !is_ours(&grad) {
            return grad.matmul(&w)?.reshape(x.shape()).map(Some);
        }
        let ((count, out), inner) = (grad.dims2()?, w.dim(1)?);
        with_real!(grad.dtype(), T => {
            let dx = with(&grad, |grad: &[T]| with(&w, |w: &[T]| {
                let w = Matrix::new(w, out, inner);
                Ok(Matrix::new(grad, count, out).times_alone(w, threads::count()))
            }))?;
            tensor(dx, x.shape(), x.dtype()).map(Some)
        })
    }

    fn weight(x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !w.track_op() {
            return Ok(None);
        }
        let (grad, x) = (rows(grad)?, rows(x)?);
        if !is_ours(&grad) {
            return grad.t()?.matmul(&x).map(Some);
        }
        let ((count, out), inner) = (grad.dims2()?, x.dim(1)?);
        with_real!(grad.dtype(), T => {
            let dw = with(&grad, |grad: &[T]| with(&x, |x: &[T]| {
                Ok(gradient_times_input(grad, x, [count, out, inner]))
            }))?;
            tensor(dw, w.shape(), w.dtype()).map(Some)
        })
    }
}

/// `gradᵀ x`, of `[count, out]` and `[count, inner]`.
fn gradient_times_input<T: Real>(grad: &[T], x: &[T], sizes: [usize; 3]) -> Vec<T> {
    /// Rows that lose nothing where their products are added up one by one.
    const ROWS: usize = 1 << 12;
    let [count, out, inner] = sizes;
    let times = |grad, x, count, threads| {
        let grad = Matrix::new(grad, count, out).transposed();
        grad.times_alone(Matrix::new(x, count, inner), threads)
    };
    if out.min(inner) != 1 || count <= ROWS {
        return times(grad, x, count, threads::count());
    }
    // Of a vector and a matrix `gemm` adds up all rows one by one, in the elements' own precision.
    let pieces = grad.chunks(ROWS * out).zip(x.chunks(ROWS * inner));
    let parts = threads::map(pieces, |(grad, x)| times(grad, x, grad.len() / out, 1));
    let mut sums = vec![0.0; out * inner];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value.to_f64());
    }
    sums.into_iter().map(T::from_f64).collect()
}

/// Whether the products are made here: not on other devices, nor where candle has a library for them.
fn is_ours(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && !cfg!(any(feature = "mkl", feature = "accelerate"))
}

/// `y` of `shape` and a bias along its last dimension.
fn add<S: BackendStorage>(y: S, shape: &Shape, bias: (&S, &Layout)) -> Result<S> {
    y.binary_impl::<Add>(bias.0, &Layout::contiguous(shape), &bias.1.broadcast_as(shape)?)
}

impl CustomOp2 for LinearOp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        w: &CpuStorage,
        w_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.product_here((x, x_l), (w, w_l))
    }

    accelerators2!(Self::product);

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Self::input(x, w, grad)?, Self::weight(x, w, grad)?))
    }
}

impl CustomOp3 for LinearOp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    /// The bias is added in place: candle's addition would allocate the result a second time.
    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        w: &CpuStorage,
        w_l: &Layout,
        b: &CpuStorage,
        b_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (y, shape) = self.product_here((x, x_l), (w, w_l))?;
        let y = match (x, b) {
            (CpuStorage::F32(_), CpuStorage::F32(_)) => add_in_place(y, &f32::read(b, b_l)?)?,
            (CpuStorage::F64(_), CpuStorage::F64(_)) => add_in_place(y, &f64::read(b, b_l)?)?,
            _ => add(y, &shape, (b, b_l))?,
        };
        Ok((y, shape))
    }

    accelerators3!(Self::biased);

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = (Self::input(x, w, grad)?, Self::weight(x, w, grad)?);
        let db = if b.track_op() { Some(sum_rows(&rows(grad)?)?) } else { None };
        Ok((dx, dw, db))
    }
}
