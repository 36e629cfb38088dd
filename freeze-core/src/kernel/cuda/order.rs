//! Rows in another order, and turned by the angles of their positions.

use candle_core::{CudaDevice, CudaStorage, Result, bail};

use super::array::{Array, empty};
use super::launch::{Arg, Grid, launch};
use super::source::File;
use crate::kernel::rope::{Order, Turn};

/// `[.., first, second, size]` as `[.., second, first, size]`.
pub(crate) fn swap_rows(
    device: &CudaDevice,
    x: &Array<'_>,
    sizes: [usize; 3],
) -> Result<CudaStorage> {
    fits(x, sizes.iter().product())?;
    let y = empty(device, x.len, x.dtype)?;
    let to = Array::whole(&y)?;
    let [first, second, size] = sizes;
    let (x, to, size) = match (x.in_f64(size), to.in_f64(size)) {
        (Some(x_in_f64), Some(to)) => (x_in_f64, to, size * x.dtype.size_in_bytes() / 8),
        _ => (*x, to, size),
    };
    let [first, second, size] = [first, second, size].map(Arg::Size);
    let args = [Arg::Size(x.len), first, second, size, Arg::Of(&x), Arg::Of(&to)];
    launch(device, (File::Order, "swap"), x.dtype, Grid::each(x.len), &args)?;
    Ok(y)
}

/// Rows of `2 * half` elements in the order `order`, each with its points turned by the angles of its position,
/// whose cosines and sines are the rows of `[length, half]`.
pub(crate) fn rotate(
    device: &CudaDevice,
    x: &Array<'_>,
    [cos, sin]: [&Array<'_>; 2],
    [length, half]: [usize; 2],
    (order, turn): (Order, Turn),
) -> Result<CudaStorage> {
    let (heads, by_length) = match order {
        // As if each head were a sample of its own.
        Order::Kept => (1, [false; 2]),
        Order::Split(heads) => (heads, [true, false]),
        Order::Merged(heads) => (heads, [false, true]),
    };
    fits(x, heads * length * 2 * half)?;
    if cos.len != length * half || sin.len != length * half {
        bail!("tables of {} and {} angles for {length} times {half}", cos.len, sin.len)
    }
    let y = empty(device, x.len, x.dtype)?;
    let to = Array::whole(&y)?;
    let points = x.len / 2 / heads;
    let [x_by_length, y_by_length] = by_length.map(|by| Arg::Flag(u32::from(by)));
    let args = [
        Arg::Size(points),
        Arg::Size(half),
        Arg::Size(heads),
        Arg::Size(length),
        x_by_length,
        y_by_length,
        Arg::Number(if turn == Turn::Forward { 1.0 } else { -1.0 }),
        Arg::Of(x),
        Arg::Of(cos),
        Arg::Of(sin),
        Arg::Of(&to),
    ];
    launch(device, (File::Order, "turn"), x.dtype, Grid::each(points), &args)?;
    Ok(y)
}

fn fits(x: &Array<'_>, sample: usize) -> Result<()> {
    match x.len.checked_rem(sample) {
        Some(0) => Ok(()),
        _ => bail!("{} elements in samples of {sample}", x.len),
    }
}
