//! Dropout whose mask is drawn on the card, by each pass anew.

use candle_core::{CudaDevice, CudaStorage, Result, bail};

use super::{Arg, Array, File, Grid, empty, launch};
use crate::kernel::Drops;

/// The elements of `x` that are kept, scaled, and zeros for the others.
pub(crate) fn dropped(device: &CudaDevice, drops: &Drops, x: Array<'_>) -> Result<CudaStorage> {
    let y = empty(device, x.len, x.dtype)?;
    drop_to(device, drops, x, Array::whole(&y)?)?;
    Ok(y)
}

/// As [`dropped`], in place.
pub(crate) fn drop_in_place(device: &CudaDevice, drops: &Drops, x: Array<'_>) -> Result<()> {
    drop_to(device, drops, x, x)
}

/// As [`dropped`], to `y`.
pub(crate) fn drop_to(
    device: &CudaDevice,
    drops: &Drops,
    x: Array<'_>,
    y: Array<'_>,
) -> Result<()> {
    if x.len != y.len {
        bail!("{} elements to drop from, and room for {}", x.len, y.len)
    }
    let mut args = vec![Arg::Size(x.len), Arg::Of(&x)];
    args.extend(drops.key().map(Arg::Flag));
    args.push(Arg::Size(drops.position as usize));
    args.extend([Arg::Flag(drops.bound), Arg::Number(drops.scale), Arg::Of(&y)]);
    // A thread has the 16 words of a block, of which the first may begin before the elements.
    let blocks = (drops.position as usize % 16 + x.len).div_ceil(16);
    launch(device, (File::Dropout, "dropped"), x.dtype, Grid::each(blocks), &args)
}
