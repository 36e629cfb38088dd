//! Softmax of rows.

use candle_core::{CudaDevice, CudaStorage, Result, bail};

use super::array::{Array, empty};
use super::launch::{Arg, Grid, launch};
use super::source::File;

/// Of each row of `len` elements.
pub(crate) fn softmax(device: &CudaDevice, x: &Array<'_>, len: usize) -> Result<CudaStorage> {
    let y = empty(device, x.len, x.dtype)?;
    let to = Array::whole(&y)?;
    let (grid, [rows, len, by_warp]) = grid(x, len)?;
    let args = [rows, len, by_warp, Arg::Of(x), Arg::Of(&to)];
    launch(device, (File::Softmax, "softmax"), x.dtype, grid, &args)?;
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
    let (grid, [rows, len, by_warp]) = grid(y, len)?;
    let args = [rows, len, by_warp, Arg::Of(y), Arg::Of(grad), Arg::Of(&to)];
    launch(device, (File::Softmax, "softmax_back"), y.dtype, grid, &args)?;
    Ok(dx)
}

/// The grid, and what the kernels are told of the rows.
fn grid(x: &Array<'_>, len: usize) -> Result<(Grid, [Arg<'static>; 3])> {
    match x.len.checked_rem(len) {
        Some(0) => {
            let (grid, by_warp) = Grid::warps_or_rows(x.len / len, len);
            Ok((grid, [Arg::Size(x.len / len), Arg::Size(len), by_warp]))
        }
        _ => bail!("{} elements in rows of {len}", x.len),
    }
}
