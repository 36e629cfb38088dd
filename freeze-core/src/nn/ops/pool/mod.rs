//! Pooling over windows of `[n, c, h, w]`.

mod portable;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Layout, Result, Shape, Tensor, ToUsize2, bail};

use super::operation::{Operand, Operation, Reads, Stored};
#[cfg(feature = "cuda")]
use crate::kernel::cuda;
use crate::kernel::slices::{number_like, read, tensor, with, with2};
use crate::kernel::{Real, Windows, by_real};
use crate::nn::record::{self, Work};

/// The maximum of each window of `kernel` (height, width), windows side by side: `[n, c, h', w']`.
/// The gradient goes to the first maximum of a window. A window with a NaN gives NaN, but on
/// Metal, where candle's ignores the NaN.
///
/// # Errors
///
/// `x` does not have four dimensions, or a window is empty or larger than the input.
pub fn max_pool2d(x: &Tensor, kernel: impl ToUsize2) -> Result<Tensor> {
    let kernel = kernel.to_usize2();
    Pool::apply(Kind::Max, x, kernel, kernel)
}

/// As [`max_pool2d`], windows `stride` (height, width) apart; they may overlap.
///
/// # Errors
///
/// As [`max_pool2d`], or a stride of 0.
pub fn max_pool2d_with_stride(
    x: &Tensor,
    kernel: impl ToUsize2,
    stride: impl ToUsize2,
) -> Result<Tensor> {
    Pool::apply(Kind::Max, x, kernel.to_usize2(), stride.to_usize2())
}

/// As [`max_pool2d_with_stride`], where windows reach over the edges by `padding` (rows, columns) on each side. What is
/// not there is no maximum and gets no gradient, as in PyTorch. On the CPU nothing is copied.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use freeze_core::nn::ops::max_pool2d_padded;
///
/// let x = Tensor::new(&[[[[-1f32, -2., -3.]]]], &Cpu)?;
/// let y = max_pool2d_padded(&x, 3, 2, 1)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [-1., -2.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
///
/// As [`max_pool2d_with_stride`], an input without rows or columns, or a padding of more than half of the window.
pub fn max_pool2d_padded(
    x: &Tensor,
    kernel: impl ToUsize2,
    stride: impl ToUsize2,
    padding: impl ToUsize2,
) -> Result<Tensor> {
    let (kernel, stride) = (kernel.to_usize2(), stride.to_usize2());
    let (rows, columns) = padding.to_usize2();
    if rows > kernel.0 / 2 || columns > kernel.1 / 2 {
        bail!(
            "max_pool2d: a padding of {rows} x {columns} for windows of {} x {}, expected at most half of them",
            kernel.0,
            kernel.1
        );
    }
    let mut op = Pool { kind: Kind::Max, kernel, stride, padding: (rows, columns) };
    op.windows(x.dims())?;
    if x.device().is_cpu() {
        return record::apply([x], Work::Elements, op);
    }
    op.padding = (0, 0);
    record::apply([&lowest_around(x, [rows, columns])?], Work::Elements, op)
}

/// `x` with rows and columns of the lowest number around it.
fn lowest_around(x: &Tensor, padding: [usize; 2]) -> Result<Tensor> {
    let lowest = number_like(f64::NEG_INFINITY, x)?;
    let sides = padding.into_iter().zip([2, 3]).filter(|(count, _)| *count > 0);
    sides.into_iter().try_fold(x.clone(), |x, (count, dim)| {
        let mut dims = x.dims().to_vec();
        dims[dim] = count;
        let side = lowest.broadcast_as(dims)?.contiguous()?;
        Tensor::cat(&[&side, &x, &side], dim)
    })
}

/// The mean of each window of `kernel` (height, width), windows side by side: `[n, c, h', w']`.
///
/// # Errors
///
/// As [`max_pool2d`].
pub fn avg_pool2d(x: &Tensor, kernel: impl ToUsize2) -> Result<Tensor> {
    let kernel = kernel.to_usize2();
    Pool::apply(Kind::Mean, x, kernel, kernel)
}

/// As [`avg_pool2d`], windows `stride` (height, width) apart; they may overlap.
///
/// # Errors
///
/// As [`max_pool2d_with_stride`].
pub fn avg_pool2d_with_stride(
    x: &Tensor,
    kernel: impl ToUsize2,
    stride: impl ToUsize2,
) -> Result<Tensor> {
    Pool::apply(Kind::Mean, x, kernel.to_usize2(), stride.to_usize2())
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Max,
    Mean,
}

#[derive(Clone, Copy)]
struct Pool {
    kind: Kind,
    kernel: (usize, usize),
    stride: (usize, usize),
    padding: (usize, usize),
}

impl Pool {
    fn apply(
        kind: Kind,
        x: &Tensor,
        kernel: (usize, usize),
        stride: (usize, usize),
    ) -> Result<Tensor> {
        let op = Self { kind, kernel, stride, padding: (0, 0) };
        op.windows(x.dims())?;
        record::apply([x], Work::Elements, op)
    }

    fn windows(&self, dims: &[usize]) -> Result<Windows> {
        let &[n, c, height, width] = dims else {
            bail!("{}: the input has shape {dims:?}, expected [n, c, h, w]", self.name());
        };
        let ((kh, kw), (sh, sw)) = (self.kernel, self.stride);
        // Padding is at most half of a window, so only the sum can be too large.
        let count = |input: usize, padding: usize, kernel: usize, stride: usize| {
            let padded = input.checked_add(2 * padding).filter(|_| input > 0 && kernel > 0)?;
            Some(padded.checked_sub(kernel)?.checked_div(stride)? + 1)
        };
        let (Some(rows), Some(columns)) =
            (count(height, self.padding.0, kh, sh), count(width, self.padding.1, kw, sw))
        else {
            bail!(
                "{}: windows of {kh} x {kw}, {sh} x {sw} apart, on {height} x {width}; expected at \
                 least 1 x 1 and at most the input",
                self.name()
            );
        };
        Ok(Windows {
            planes: (n, c),
            input: (height, width),
            output: (rows, columns),
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
        })
    }

    fn gradient_here(&self, windows: &Windows, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        by_real!(x.dtype(), T => {
            let dx = match self.kind {
                Kind::Max => with2([grad, x], |grad: &[T], x: &[T]| {
                    Ok(windows.max_gradient(x, grad))
                }),
                Kind::Mean => with(grad, |grad: &[T]| Ok(windows.mean_gradient(grad))),
            };
            tensor(dx?, x.shape(), x.dtype())
        })
    }
}

impl Operation<1> for Pool {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Max => "max_pool2d",
            Kind::Mean => "avg_pool2d",
        }
    }

    fn shape(&self, [x]: [&Layout; 1]) -> Result<Shape> {
        Ok(self.windows(x.dims())?.output_shape())
    }

    fn cpu(&self, [(x, layout)]: [Operand<'_, CpuStorage>; 1]) -> Result<CpuStorage> {
        let (windows, dtype) = (self.windows(layout.dims())?, x.dtype());
        by_real!(dtype, T => {
            let x = read::<T>(x, layout)?;
            Ok(T::write(match self.kind {
                Kind::Max => windows.max(&x),
                Kind::Mean => windows.mean(&x),
            }, dtype))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [Operand<'_, CudaStorage>; 1]) -> Result<CudaStorage> {
        let windows = self.windows(x.1.dims())?;
        match self.kind {
            Kind::Max => cuda::windows::max(&x.0.device, &windows, cuda::operand(x)?),
            Kind::Mean => cuda::windows::mean(&x.0.device, &windows, cuda::operand(x)?),
        }
    }

    fn portable<S: Stored>(&self, [(x, layout)]: [Operand<'_, S>; 1]) -> Result<S> {
        let y = match self.kind {
            Kind::Max => x.max_pool2d(layout, self.kernel, self.stride)?,
            Kind::Mean => x.avg_pool2d(layout, self.kernel, self.stride)?,
        };
        // candle's kernel on CUDA, the only accelerator with f64, takes the share of an element as
        // f32.
        if let (Kind::Mean, DType::F64) = (self.kind, y.dtype()) {
            let windows = self.windows(layout.dims())?;
            let share = windows.scale::<f64>();
            let rounding = share / f64::from(share as f32);
            return y.affine(&Layout::contiguous(windows.output_shape()), rounding, 0.0);
        }
        Ok(y)
    }

    fn reads(&self, _: [bool; 1]) -> Reads<1> {
        match self.kind {
            Kind::Max => Reads { operands: [true], result: true },
            Kind::Mean => Reads::NOTHING,
        }
    }

    fn gradients(
        &self,
        [x]: [&Tensor; 1],
        y: &Tensor,
        grad: &Tensor,
        _: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        let windows = self.windows(x.dims())?;
        Ok([Some(match self.kind {
            _ if x.device().is_cpu() => self.gradient_here(&windows, x, grad)?,
            #[cfg(feature = "cuda")]
            Kind::Max if x.device().is_cuda() => {
                let dx = cuda::on_card([x, y, grad], |device, operands| {
                    cuda::windows::max_gradient(device, &windows, operands)
                })?;
                cuda::tensor(dx, x.shape())
            }
            #[cfg(feature = "cuda")]
            Kind::Mean if x.device().is_cuda() => {
                let dx = cuda::on_card([grad], |device, [grad]| {
                    cuda::windows::mean_gradient(device, &windows, grad)
                })?;
                cuda::tensor(dx, x.shape())
            }
            Kind::Max => portable::max_gradient(&windows, x, &y.detach(), grad)?,
            Kind::Mean => portable::mean_gradient(&windows, x, grad)?,
        })])
    }
}

#[cfg(test)]
mod tests;
