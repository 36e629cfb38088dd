//! Functions of each element.

use candle_core::{CudaDevice, CudaStorage, Result, bail};

use super::{Arg, Array, File, Grid, empty, launch};

/// A function of one number, in the order of `elements.cu`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Function {
    Rectified,
    TanhGelu,
    ErfGelu,
    Swish,
    Sigmoid,
    Tangent,
}

/// The function of each element.
pub(crate) fn values(device: &CudaDevice, of: Function, x: Array<'_>) -> Result<CudaStorage> {
    new_elements(device, "values", x, &[Arg::Flag(of as u32), Arg::Size(x.len), Arg::Of(&x)])
}

/// The function's derivative at each element of `x`, times the gradient.
pub(crate) fn slopes(
    device: &CudaDevice,
    of: Function,
    x: Array<'_>,
    grad: Array<'_>,
) -> Result<CudaStorage> {
    if grad.len != x.len {
        bail!("a gradient of {} elements for an input of {}", grad.len, x.len)
    }
    let args = [Arg::Flag(of as u32), Arg::Size(x.len), Arg::Of(&x), Arg::Of(&grad)];
    new_elements(device, "slopes", x, &args)
}

/// `factor * x + offset`.
pub(crate) fn affine(
    device: &CudaDevice,
    x: Array<'_>,
    [factor, offset]: [f64; 2],
) -> Result<CudaStorage> {
    let numbers = [factor, offset].map(Arg::Number);
    new_elements(device, "affine", x, &[Arg::Size(x.len), Arg::Of(&x), numbers[0], numbers[1]])
}

/// `keep * sum + factor * x`, written to `sum`.
pub(crate) fn add_scaled(
    device: &CudaDevice,
    sum: Array<'_>,
    [keep, factor]: [f64; 2],
    x: Array<'_>,
) -> Result<()> {
    if x.len != sum.len {
        bail!("{} elements for a sum of {}", x.len, sum.len)
    }
    let numbers = [keep, factor].map(Arg::Number);
    let args = [Arg::Size(x.len), Arg::Of(&x), numbers[0], numbers[1], Arg::Of(&sum)];
    launch(device, (File::Elements, "add_scaled"), x.dtype, packed(x), &args)
}

/// As many elements as `x` has, by a kernel whose last argument they are.
fn new_elements(
    device: &CudaDevice,
    kernel: &'static str,
    x: Array<'_>,
    args: &[Arg<'_>],
) -> Result<CudaStorage> {
    let y = empty(device, x.len, x.dtype)?;
    let written = Array::whole(&y)?;
    let args = [args, &[Arg::Of(&written)]].concat();
    launch(device, (File::Elements, kernel), x.dtype, packed(x), &args)?;
    Ok(y)
}

/// A thread for each 16 bytes, which it reads at a time.
fn packed(x: Array<'_>) -> Grid {
    Grid::each(x.len.div_ceil(16 / x.dtype.size_in_bytes()))
}
