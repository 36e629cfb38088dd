//! A bias for each channel of planes.

use candle_core::{CudaDevice, CudaStorage, DType, Result, bail};

use super::{Units, packs, width};
use crate::kernel::cuda::array::{Array, empty};
use crate::kernel::cuda::launch::{Arg, Grid, launch};
use crate::kernel::cuda::source::File;

/// Adds to each channel of `y` `[batch, channels, len]`, in place, its bias.
pub(crate) fn add_to_channels(
    device: &CudaDevice,
    y: Array<'_>,
    len: usize,
    bias: Array<'_>,
) -> Result<()> {
    let channels = bias.len;
    check(y, channels, len)?;
    let (wide, grid) = packs(&[Some(y)]);
    let [n, len, channels] = [y.len, len, channels].map(Arg::Size);
    let args = [n, len, channels, wide, Arg::Of(&bias), Arg::Of(&y)];
    launch(device, (File::Planes, "add_to_channels"), y.dtype, grid, &args)
}

/// The sum of each channel of `x` `[batch, channels, len]`: the gradient of a bias.
pub(crate) fn channel_sums(
    device: &CudaDevice,
    x: Array<'_>,
    channels: usize,
    len: usize,
) -> Result<CudaStorage> {
    check(x, channels, len)?;
    let units = Units { rows: x.len / len / channels, units: channels, run: len };
    let pieces = units.pieces();
    let (parts, sums) =
        (empty(device, 2 * pieces * channels, DType::F64)?, empty(device, channels, x.dtype)?);
    let (part, to) = (Array::whole(&parts)?, Array::whole(&sums)?);
    let mut args = units.args().to_vec();
    args.extend([Arg::Flag(width(len, &[x])), Arg::Of(&x), Arg::Of(&part)]);
    launch(device, (File::Planes, "sums_of_units"), x.dtype, units.grid(), &args)?;
    let mut args = [0, 1, 1, channels, pieces].map(Arg::Size).to_vec();
    let none = Arg::Maybe(None);
    args.extend([none, Arg::Of(&part), none, none, Arg::Of(&to)]);
    let grid = Grid::rows(channels, pieces);
    launch(device, (File::Planes, "gradient_of_parts"), x.dtype, grid, &args)?;
    Ok(sums)
}

fn check(x: Array<'_>, channels: usize, len: usize) -> Result<()> {
    match channels * len {
        sample @ 1.. if x.len.is_multiple_of(sample) => Ok(()),
        _ => bail!("{} elements in {channels} channels of {len} elements", x.len),
    }
}
