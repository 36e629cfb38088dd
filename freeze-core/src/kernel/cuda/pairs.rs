//! Functions of two tensors that broadcast, and their gradients.

use candle_core::{CudaDevice, CudaStorage, DType, Result, bail};

use super::{Arg, Array, File, Grid, empty, launch};

/// A function of two numbers, in the order of `pairs.cu`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pair {
    Sum,
    RectifiedSum,
    Product,
    /// The first, times the second unless it is above 0.
    Sloped,
}

/// How the elements of an operand go with those of a result: each of `count` with `run` neighbours, again and again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    pub(crate) run: usize,
    pub(crate) count: usize,
}

impl Runs {
    /// The runs of an operand that is broadcast to `result`; `None` where it is in two directions at a time.
    pub(crate) fn of(operand: &[usize], result: &[usize]) -> Option<Self> {
        let ones = operand.iter().take_while(|size| **size == 1).count();
        let operand = &operand[ones..];
        let tail = operand.iter().rev().take_while(|size| **size == 1).count();
        let (core, inner) = (&operand[..operand.len() - tail], result.len().checked_sub(tail)?);
        let (outer, inner) = result.split_at(inner);
        let fits = outer.ends_with(core);
        fits.then(|| Self { run: inner.iter().product(), count: core.iter().product() })
    }
}

/// An operand that has the shape of the result, and the other with its runs.
pub(crate) type Paired<'a> = (Array<'a>, (Array<'a>, Runs));

/// Two operands as a kernel takes them, in either order; `None` if it does not.
pub(crate) fn paired<'a>(
    [a, b]: [(Array<'a>, &[usize]); 2],
    shape: &[usize],
) -> Option<Paired<'a>> {
    let elements: usize = shape.iter().product();
    [(a, b), (b, a)].into_iter().find_map(|((whole, _), (other, dims))| {
        let runs = (whole.len == elements).then(|| Runs::of(dims, shape)).flatten()?;
        Some((whole, (other, runs)))
    })
}

/// The function of each pair.
pub(crate) fn pairs(device: &CudaDevice, of: Pair, paired: Paired<'_>) -> Result<CudaStorage> {
    run(device, ("pairs", of), paired, None)
}

/// The gradient of the operand that is whole; for a rectified sum of what either goes into.
pub(crate) fn pair_gradients(
    device: &CudaDevice,
    of: Pair,
    paired: Paired<'_>,
    grad: Array<'_>,
) -> Result<CudaStorage> {
    run(device, ("pair_gradients", of), paired, Some(grad))
}

fn run(
    device: &CudaDevice,
    (kernel, of): (&'static str, Pair),
    (a, (b, Runs { run, count })): Paired<'_>,
    grad: Option<Array<'_>>,
) -> Result<CudaStorage> {
    if b.len != count || run * count == 0 || a.len % (run * count) != 0 {
        bail!("{} elements do not go with {count} runs of {run} in {}", b.len, a.len)
    }
    if grad.is_some_and(|grad| grad.len != a.len) {
        bail!("{kernel}: a gradient of another size than the result, {}", a.len)
    }
    let y = empty(device, a.len, a.dtype)?;
    let written = Array::whole(&y)?;
    let mut args = vec![Arg::Flag(of as u32), Arg::Size(a.len), Arg::Of(&a), Arg::Of(&b)];
    args.extend([run, count].map(Arg::Size));
    args.extend(grad.as_ref().map(Arg::Of));
    args.push(Arg::Of(&written));
    launch(device, (File::Pairs, kernel), a.dtype, few(a), &args)?;
    Ok(y)
}

/// A thread for each 16 bytes, which it reads at a time, but so few that each has several of many: only its first
/// takes divisions.
fn few(a: Array<'_>) -> Grid {
    const THREADS: usize = 256;
    let blocks = (a.len * a.dtype.size_in_bytes()).div_ceil(16 * THREADS);
    Grid { blocks: [blocks.min(1 << 11), 1, 1], threads: THREADS as u32 }
}

/// The gradient of the slopes of `x`, `[samples, slopes, run]`: the sums of the smaller of it and zero, times the
/// gradient. Long sums are made of parts, of which there are as many on any card.
pub(crate) fn slope_gradient(
    device: &CudaDevice,
    [x, grad]: [Array<'_>; 2],
    [samples, slopes, run]: [usize; 3],
) -> Result<CudaStorage> {
    if [x.len, grad.len] != [samples * slopes * run; 2] || x.len == 0 {
        bail!("slopes of {samples} by {slopes} by {run} elements, and {} of them", x.len)
    }
    let dw = empty(device, slopes, x.dtype)?;
    let written = Array::whole(&dw)?;
    let blocks = run >= 32;
    let parts = match blocks {
        true => (samples * run).div_ceil(1 << 12).min((1usize << 10).div_ceil(slopes)),
        false => samples.div_ceil(16).min((1usize << 16).div_ceil(slopes)),
    };
    let (kernel, grid) = match blocks {
        true => ("slopes_by_block", Grid::rows(slopes * parts, (samples * run).div_ceil(parts))),
        false => ("slopes_by_thread", Grid::each(slopes * parts)),
    };
    let sums = (parts > 1).then(|| empty(device, slopes * parts, DType::F64)).transpose()?;
    let sums = sums.as_ref().map(Array::whole).transpose()?;
    let mut args = [samples, slopes, run, parts].map(Arg::Size).to_vec();
    args.extend([Arg::Of(&x), Arg::Of(&grad), Arg::Maybe(sums.as_ref()), Arg::Of(&written)]);
    launch(device, (File::Pairs, kernel), x.dtype, grid, &args)?;
    if let Some(sums) = &sums {
        let args = [Arg::Size(slopes), Arg::Size(parts), Arg::Of(sums), Arg::Of(&written)];
        launch(device, (File::Pairs, "slopes_of_parts"), x.dtype, Grid::each(slopes), &args)?;
    }
    Ok(dw)
}

#[cfg(test)]
mod tests {
    use super::Runs;

    #[test]
    fn runs_are_of_one_direction() {
        let runs = |operand: &[usize]| Runs::of(operand, &[4, 5, 7]).map(|it| (it.run, it.count));
        assert_eq!(runs(&[4, 5, 7]), Some((1, 140)));
        assert_eq!(runs(&[7]), Some((1, 7)));
        assert_eq!(runs(&[1, 5, 7]), Some((1, 35)));
        assert_eq!(runs(&[5, 1]), Some((7, 5)));
        assert_eq!(runs(&[4, 1, 1]), Some((35, 4)));
        assert_eq!([runs(&[]), runs(&[1, 1])], [Some((1, 1)); 2]);
        assert_eq!([runs(&[4, 1, 7]), runs(&[4, 5])], [None; 2]);
    }
}
