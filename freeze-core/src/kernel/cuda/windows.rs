//! Pooling over windows on the card.

use candle_core::{CudaDevice, CudaStorage, Result, bail};

use super::array::{Array, empty};
use super::launch::{Arg, Grid, launch};
use super::source::File;
use crate::kernel::Windows;

/// The number of elements from which on a window gets a block.
const LARGE: usize = 32;

/// Each window's maximum; NaN if it contains one.
pub(crate) fn max(device: &CudaDevice, windows: &Windows, x: Array<'_>) -> Result<CudaStorage> {
    check(windows, &[x], &[])?;
    let y = empty(device, outputs(windows), x.dtype)?;
    let to = Array::whole(&y)?;
    run(device, "max_of_windows", windows, to, &[Arg::Of(&x), Arg::Of(&to)])?;
    Ok(y)
}

/// Each window's mean.
pub(crate) fn mean(device: &CudaDevice, windows: &Windows, x: Array<'_>) -> Result<CudaStorage> {
    check(windows, &[x], &[])?;
    let y = empty(device, outputs(windows), x.dtype)?;
    let to = Array::whole(&y)?;
    let rest = [Arg::Number(windows.scale::<f64>()), Arg::Of(&x), Arg::Of(&to)];
    let elements = windows.kernel.0 * windows.kernel.1;
    if elements < LARGE {
        run(device, "mean_of_windows", windows, to, &rest)?;
    } else {
        let mut args = sizes(windows)?.to_vec();
        args.extend(rest);
        let grid = Grid::rows(to.len, elements);
        launch(device, (File::Windows, "mean_of_large"), x.dtype, grid, &args)?;
    }
    Ok(y)
}

/// Each window's gradient at its first maximum, or its first NaN; `y` are the maxima.
pub(crate) fn max_gradient(
    device: &CudaDevice,
    windows: &Windows,
    [x, y, grad]: [Array<'_>; 3],
) -> Result<CudaStorage> {
    check(windows, &[x], &[y, grad])?;
    let dx = empty(device, x.len, x.dtype)?;
    let to = Array::whole(&dx)?;
    let rest = [Arg::Of(&x), Arg::Of(&y), Arg::Of(&grad), Arg::Of(&to)];
    run(device, "gradient_of_max", windows, to, &rest)?;
    Ok(dx)
}

/// Each window's gradient, spread evenly.
pub(crate) fn mean_gradient(
    device: &CudaDevice,
    windows: &Windows,
    grad: Array<'_>,
) -> Result<CudaStorage> {
    check(windows, &[], &[grad])?;
    let dx = empty(device, inputs(windows), grad.dtype)?;
    let to = Array::whole(&dx)?;
    let rest = [Arg::Number(windows.scale::<f64>()), Arg::Of(&grad), Arg::Of(&to)];
    run(device, "gradient_of_mean", windows, to, &rest)?;
    Ok(dx)
}

/// A thread for each element of `to`.
fn run(
    device: &CudaDevice,
    kernel: &'static str,
    windows: &Windows,
    to: Array<'_>,
    rest: &[Arg<'_>],
) -> Result<()> {
    let mut args = vec![Arg::Size(to.len)];
    args.extend(sizes(windows)?);
    args.extend_from_slice(rest);
    launch(device, (File::Windows, kernel), to.dtype, Grid::each(to.len), &args)
}

fn sizes(windows: &Windows) -> Result<[Arg<'static>; 8]> {
    let Windows { input, output, kernel, stride, .. } = windows;
    let pairs = [input, output, kernel, stride];
    let mut sizes = [Arg::Flag(0); 8];
    for (to, size) in sizes.iter_mut().zip(pairs.iter().flat_map(|pair| [pair.0, pair.1])) {
        *to = match u32::try_from(size) {
            Ok(size) => Arg::Flag(size),
            Err(_) => bail!("windows over {input:?}, {stride:?} apart: more than a card counts"),
        };
    }
    Ok(sizes)
}

fn check(windows: &Windows, x: &[Array<'_>], y: &[Array<'_>]) -> Result<()> {
    let fit = x.iter().all(|x| x.len == inputs(windows));
    if !fit || y.iter().any(|y| y.len != outputs(windows)) {
        bail!("other lengths than those of {windows:?}")
    }
    Ok(())
}

fn inputs(windows: &Windows) -> usize {
    windows.planes.0 * windows.planes.1 * windows.input.0 * windows.input.1
}

fn outputs(windows: &Windows) -> usize {
    windows.planes.0 * windows.planes.1 * windows.output.0 * windows.output.1
}
