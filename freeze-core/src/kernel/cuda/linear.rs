//! What a product has added to it.

use candle_core::{CudaStorage, Result, bail};

use super::{Arg, Array, File, Grid, launch};

/// Adds a bias to each row of `y`, in place.
pub(crate) fn add_to_rows(y: &CudaStorage, bias: &Array<'_>) -> Result<()> {
    let elements = Array::whole(y)?;
    if bias.len == 0 || !elements.len.is_multiple_of(bias.len) {
        bail!("a bias of {} for {} elements", bias.len, elements.len)
    }
    let args = [Arg::Size(elements.len), Arg::Size(bias.len), Arg::Of(&elements), Arg::Of(bias)];
    let grid = Grid::each(elements.len);
    launch(&y.device, (File::Linear, "add_to_rows"), elements.dtype, grid, &args)
}
