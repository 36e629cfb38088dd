//! The cross-entropy of rows of logits, by the kernels of `softmax.cu`.

use candle_core::{CudaDevice, CudaStorage, DType, Result, bail};

use super::array::{Array, empty};
use super::launch::{Arg, Grid, launch};
use super::source::File;
use crate::kernel::internal_dtype;

/// What of the loss is given beside the logits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets<'a> {
    /// A label for each row, in i64.
    pub(crate) labels: &'a Array<'a>,
    /// A weight for each class, in f64; 1 if there are none.
    pub(crate) weights: Option<&'a Array<'a>>,
    pub(crate) rule: Rule,
}

/// How labels and classes count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Rows with this label do not count.
    pub(crate) ignored: Option<i64>,
    /// How much the label's class counts, beside its weight.
    pub(crate) kept: f64,
    /// How much every class counts, beside its weight.
    pub(crate) spread: f64,
    /// `spread` times all weights.
    pub(crate) shares: f64,
}

/// What the backward needs of the forward: four numbers of each row, and the weight of all.
#[derive(Debug)]
pub(crate) struct Found {
    rows: CudaStorage,
    total: CudaStorage,
}

/// The mean, in the type of arithmetic. NaN for labels that are no class, or of which none counts.
pub(crate) fn forward(
    device: &CudaDevice,
    x: &Array<'_>,
    targets: Targets<'_>,
) -> Result<(CudaStorage, Found)> {
    let (rows, classes) = targets.sizes(x)?;
    let found =
        Found { rows: empty(device, 4 * rows, DType::F64)?, total: empty(device, 1, DType::F64)? };
    let (of_rows, total) = (Array::whole(&found.rows)?, Array::whole(&found.total)?);
    let (grid, by_warp) = Grid::warps_or_rows(rows, classes);
    let mut args = vec![Arg::Size(rows), Arg::Size(classes), by_warp];
    args.extend(targets.args(x));
    args.push(Arg::Of(&of_rows));
    launch(device, (File::Softmax, "losses"), x.dtype, grid, &args)?;
    let loss = empty(device, 1, internal_dtype(x.dtype))?;
    let to = Array::whole(&loss)?;
    let args = [Arg::Size(rows), Arg::Of(&of_rows), Arg::Of(&to), Arg::Of(&total)];
    let grid = Grid { blocks: [1; 3], threads: rows.next_multiple_of(32).min(1024) as u32 };
    launch(device, (File::Softmax, "mean_loss"), x.dtype, grid, &args)?;
    Ok((loss, found))
}

/// The logits' gradient, given that of the mean.
pub(crate) fn backward(
    device: &CudaDevice,
    [x, grad]: [&Array<'_>; 2],
    targets: Targets<'_>,
    found: &Found,
) -> Result<CudaStorage> {
    let (rows, classes) = targets.sizes(x)?;
    let (of_rows, total) = (Array::whole(&found.rows)?, Array::whole(&found.total)?);
    if grad.len != 1 || of_rows.len != 4 * rows {
        bail!("a gradient of {} elements for a mean of {rows} rows", grad.len)
    }
    let dx = empty(device, x.len, x.dtype)?;
    let to = Array::whole(&dx)?;
    let (grid, by_warp) = Grid::warps_or_rows(rows, classes);
    let mut args = vec![Arg::Size(rows), Arg::Size(classes), by_warp];
    args.extend(targets.args(x));
    args.extend([Arg::Of(&of_rows), Arg::Of(&total), Arg::Of(grad), Arg::Of(&to)]);
    launch(device, (File::Softmax, "losses_back"), x.dtype, grid, &args)?;
    Ok(dx)
}

impl<'a> Targets<'a> {
    /// How many rows and classes.
    fn sizes(&self, x: &Array<'_>) -> Result<(usize, usize)> {
        let rows = self.labels.len;
        if x.len == 0 || x.len.checked_rem(rows) != Some(0) {
            bail!("{rows} labels for {} logits", x.len)
        }
        let classes = x.len / rows;
        if self.weights.is_some_and(|weights| weights.len != classes) {
            bail!("weights {:?} for {classes} classes", self.weights)
        }
        Ok((rows, classes))
    }

    fn args<'b>(&self, x: &'b Array<'b>) -> [Arg<'b>; 8]
    where
        'a: 'b,
    {
        let Rule { ignored, kept, spread, shares } = self.rule;
        [
            // As bits.
            Arg::Size(ignored.unwrap_or(0) as u64 as usize),
            Arg::Flag(u32::from(ignored.is_some())),
            Arg::Number(kept),
            Arg::Number(spread),
            Arg::Number(shares),
            Arg::Maybe(self.weights),
            Arg::Of(x),
            Arg::Of(self.labels),
        ]
    }
}
