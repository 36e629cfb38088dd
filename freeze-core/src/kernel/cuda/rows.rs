//! Norms of rows.

use candle_core::{CudaDevice, CudaStorage, Result, bail};

use super::array::{Array, empty};
use super::launch::{Arg, Grid, launch};
use super::source::File;
use crate::kernel::internal_dtype;
use crate::kernel::norm::Center;

/// The normalised rows of as many elements as the weight has, and three numbers of each row for
/// [`normalize_back`] and the sums of columns.
pub(crate) fn normalize(
    device: &CudaDevice,
    x: &Array<'_>,
    [weight, bias]: [Option<&Array<'_>>; 2],
    eps: f64,
    center: Center,
) -> Result<(CudaStorage, CudaStorage)> {
    let len = weight.map_or(0, |weight| weight.len);
    if len == 0 || !x.len.is_multiple_of(len) || bias.is_some_and(|bias| bias.len != len) {
        bail!("weight and bias {weight:?} {bias:?} do not fit rows of {}", x.len)
    }
    let rows = x.len / len;
    let y = empty(device, x.len, x.dtype)?;
    let stats = empty(device, 3 * rows, internal_dtype(x.dtype))?;
    let (grid, by_warp) = Grid::warps_or_rows(rows, len);
    let args = [
        Arg::Size(rows),
        Arg::Size(len),
        by_warp,
        Arg::Flag(u32::from(center == Center::Mean)),
        Arg::Number(eps),
        Arg::Of(x),
        Arg::Maybe(weight),
        Arg::Maybe(bias),
        Arg::Of(&Array::whole(&y)?),
        Arg::Of(&Array::whole(&stats)?),
    ];
    launch(device, (File::Rows, "normalize"), x.dtype, grid, &args)?;
    Ok((y, stats))
}

/// The input's gradient.
pub(crate) fn normalize_back(
    device: &CudaDevice,
    [x, weight, grad]: [&Array<'_>; 3],
    stats: &CudaStorage,
    center: Center,
) -> Result<CudaStorage> {
    let stats = Array::whole(stats)?;
    let len = weight.len;
    if grad.len != x.len || stats.len * len != 3 * x.len {
        bail!("a gradient of {} elements for {} in rows of {len}", grad.len, x.len)
    }
    let dx = empty(device, x.len, x.dtype)?;
    let (grid, by_warp) = Grid::warps_or_rows(x.len / len, len);
    let args = [
        Arg::Size(x.len / len),
        Arg::Size(len),
        by_warp,
        Arg::Flag(u32::from(center == Center::Mean)),
        Arg::Of(x),
        Arg::Of(weight),
        Arg::Of(grad),
        Arg::Of(&stats),
        Arg::Of(&Array::whole(&dx)?),
    ];
    launch(device, (File::Rows, "normalize_back"), x.dtype, grid, &args)?;
    Ok(dx)
}
