//! Softmax of rows.

use candle_core::{CudaDevice, CudaStorage, Result, bail};

use super::array::{Array, empty};
use super::launch::{Arg, Grid, launch};
use super::source::File;

/// Of each row of `len` elements.
pub(crate) fn softmax(device: &CudaDevice, x: &Array<'_>, len: usize) -> Result<CudaStorage> {
    let y = empty(device, x.len, x.dtype)?;
    let to = Array::whole(&y)?;
    let args = [Arg::Size(len), Arg::Of(x), Arg::Of(&to)];
    launch(device, (File::Softmax, "softmax"), x.dtype, grid(x, len)?, &args)?;
    Ok(y)
}

/// The gradient of what the result `y` was made of.
pub(crate) fn softmax_back(
    device: &CudaDevice,
    [y, grad]: [&Array<'_>; 2],
    len: usize,
) -> Result<CudaStorage> {
    if y.len != grad.len {
        bail!("a gradient of {} elements for {}", grad.len, y.len)
    }
    let dx = empty(device, y.len, y.dtype)?;
    let to = Array::whole(&dx)?;
    let args = [Arg::Size(len), Arg::Of(y), Arg::Of(grad), Arg::Of(&to)];
    launch(device, (File::Softmax, "softmax_back"), y.dtype, grid(y, len)?, &args)?;
    Ok(dx)
}

fn grid(x: &Array<'_>, len: usize) -> Result<Grid> {
    match x.len.checked_rem(len) {
        Some(0) => Ok(Grid::rows(x.len / len, len)),
        _ => bail!("{} elements in rows of {len}", x.len),
    }
}
