//! Pooling over windows of `[n, c, h, w]`.

mod kernels;
mod portable;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, ToUsize2, bail};

use super::cpu::{Real, tensor, with, with_real};
use super::device::{Stored, accelerators1, nothing};
use crate::nn::record;
use kernels::Windows;

/// The maximum of each window of `kernel` (height, width), windows side by side: `[n, c, h', w']`.
/// The gradient goes to the first maximum of a window. On the CPU a window with a NaN gives NaN; candle's
/// passes over it.
///
/// # Errors
///
/// `x` has not four dimensions, or a window is empty or larger than the input.
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
}

impl Pool {
    fn apply(
        kind: Kind,
        x: &Tensor,
        kernel: (usize, usize),
        stride: (usize, usize),
    ) -> Result<Tensor> {
        let op = Self { kind, kernel, stride };
        op.windows(x.dims())?;
        record::apply1(&x.contiguous()?, op)
    }

    fn windows(&self, dims: &[usize]) -> Result<Windows> {
        let &[n, c, height, width] = dims else {
            bail!("{}: the input has shape {dims:?}, expected [n, c, h, w]", self.name());
        };
        let ((kh, kw), (sh, sw)) = (self.kernel, self.stride);
        if [kh, kw, sh, sw].contains(&0) || kh > height || kw > width {
            bail!(
                "{}: windows of {kh} x {kw}, {sh} x {sw} apart, on {height} x {width}; expected at \
                 least 1 x 1 and at most the input",
                self.name()
            );
        }
        let output = ((height - kh) / sh + 1, (width - kw) / sw + 1);
        Ok(Windows {
            planes: (n, c),
            input: (height, width),
            output,
            kernel: self.kernel,
            stride: self.stride,
        })
    }

    /// candle's own forward, for other devices than the CPU.
    fn forward<S: Stored>(&self, x: &S, layout: &Layout) -> Result<(S, Shape)> {
        let windows = self.windows(layout.dims())?;
        let shape = windows.output_shape();
        if let Some(nothing) = nothing(x, &shape)? {
            return Ok(nothing);
        }
        let y = match self.kind {
            Kind::Max => x.max_pool2d(layout, self.kernel, self.stride)?,
            Kind::Mean => x.avg_pool2d(layout, self.kernel, self.stride)?,
        };
        // candle's kernel on CUDA, the one accelerator with f64, takes the share of an element as f32.
        if let (Kind::Mean, DType::F64) = (self.kind, y.dtype()) {
            let share = windows.scale::<f64>();
            let rounding = share / f64::from(share as f32);
            return Ok((y.affine(&Layout::contiguous(&shape), rounding, 0.0)?, shape));
        }
        Ok((y, shape))
    }
}

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Max => "max_pool2d",
            Kind::Mean => "avg_pool2d",
        }
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let windows = self.windows(layout.dims())?;
        let dtype = x.dtype();
        let y = with_real!(dtype, T => {
            let x = T::read(x, layout)?;
            T::write(match self.kind {
                Kind::Max => windows.max::<T>(&x),
                Kind::Mean => windows.mean::<T>(&x),
            }, dtype)
        });
        Ok((y, windows.output_shape()))
    }

    accelerators1!(Self::forward);

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let windows = self.windows(x.dims())?;
        let (x, grad) = (x.detach(), grad.detach());
        if grad.elem_count() == 0 {
            return Ok(Some(x.zeros_like()?));
        }
        if !x.device().is_cpu() {
            let dx = match self.kind {
                Kind::Max => portable::max_gradient(&windows, &x, &y.detach(), &grad),
                Kind::Mean => portable::mean_gradient(&windows, &x, &grad),
            };
            return dx.map(Some);
        }
        with_real!(x.dtype(), T => {
            let dx = with(&grad, |grad: &[T]| match self.kind {
                Kind::Max => with(&x, |x: &[T]| Ok(windows.max_gradient(x, grad))),
                Kind::Mean => Ok(windows.mean_gradient(grad)),
            })?;
            tensor(dx, x.shape(), x.dtype()).map(Some)
        })
    }
}

#[cfg(test)]
mod tests;
