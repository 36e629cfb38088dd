//! Rows of a table by their numbers, and the sum of gradients where they came from.

use candle_core::backend::BackendDevice;
use candle_core::{CudaDevice, CudaStorage, DType, Result, Shape, bail};

use super::array::{Array, empty};
use super::launch::{Arg, Grid, launch};
use super::source::File;

/// Numbers of rows: u8, u32 or i64. The largest number of the type and all that have no row in the table stand
/// for no row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers<'a> {
    indices: &'a Array<'a>,
    entries: usize,
}

/// The rows of `table`, of `entries` rows; zeros where there is no row.
pub(crate) fn gather(
    device: &CudaDevice,
    table: &Array<'_>,
    numbers: Numbers<'_>,
) -> Result<CudaStorage> {
    let (n, len) = (numbers.indices.len, table.len / numbers.entries.max(1));
    let y = empty(device, n * len, table.dtype)?;
    let to = Array::whole(&y)?;
    let (table, to, len) = match (table.in_f64(len), to.in_f64(len)) {
        (Some(in_f64), Some(to)) => (in_f64, to, len * table.dtype.size_in_bytes() / 8),
        _ => (*table, to, len),
    };
    let mut args = vec![Arg::Size(len)];
    args.extend(numbers.args()?);
    args.extend([Arg::Of(&table), Arg::Of(&to)]);
    launch(device, (File::Lookup, "gather"), table.dtype, Grid::rows(n, len), &args)?;
    Ok(y)
}

/// The table's gradient: for each row the sum of the gradients of its places, in their order and in f64.
///
/// The places are sorted first, in tiles of 1024 that then find their places among each other: n² / 1024 · 10
/// steps on the whole card, which is nothing for the tokens of a batch, and milliseconds for a million. Equal runs
/// give equal bits.
pub(crate) fn scatter(
    device: &CudaDevice,
    grad: &Array<'_>,
    numbers: Numbers<'_>,
) -> Result<CudaStorage> {
    /// The places that a block adds up.
    const PIECE: usize = 32;
    let (n, entries) = (numbers.indices.len, numbers.entries);
    if n == 0 || !grad.len.is_multiple_of(n) || n >= u32::MAX as usize {
        bail!("a gradient of {} elements for {n} rows", grad.len)
    }
    let (len, dtype) = (grad.len / n, grad.dtype);
    let sorted = sorted(device, numbers, dtype)?;
    let sorted = Array::whole(&sorted)?;
    let table = device.zeros_impl(&Shape::from(entries * len), dtype)?;
    let to = Array::whole(&table)?;
    let pieces = n.div_ceil(PIECE);
    let parts = empty(device, 2 * pieces * len, DType::F64)?;
    let parts = Array::whole(&parts)?;
    let strips = len.div_ceil(256);
    let grid = Grid {
        blocks: [pieces, strips, 1],
        threads: len.div_ceil(strips).next_multiple_of(32) as u32,
    };
    let [n, len, piece] = [n, len, PIECE].map(Arg::Size);
    let args = [n, len, piece, Arg::Of(&sorted), Arg::Of(grad), Arg::Of(&parts), Arg::Of(&to)];
    launch(device, (File::Lookup, "scatter"), dtype, grid, &args)?;
    if pieces > 1 {
        let args = [n, len, piece, Arg::Of(&sorted), Arg::Of(&parts), Arg::Of(&to)];
        launch(device, (File::Lookup, "scatter_parts"), dtype, grid, &args)?;
    }
    Ok(table)
}

/// The rows and places of all numbers, in order.
fn sorted(device: &CudaDevice, numbers: Numbers<'_>, dtype: DType) -> Result<CudaStorage> {
    let n = numbers.indices.len;
    let tile = n.next_power_of_two().clamp(32, 1024);
    let tiles = empty(device, n, DType::I64)?;
    let from = Array::whole(&tiles)?;
    let mut args = vec![Arg::Size(n)];
    args.extend(numbers.args()?);
    args.push(Arg::Of(&from));
    let grid = Grid { blocks: [n.div_ceil(tile), 1, 1], threads: tile as u32 };
    launch(device, (File::Lookup, "tiles"), dtype, grid, &args)?;
    if n <= tile {
        return Ok(tiles);
    }
    let sorted = empty(device, n, DType::I64)?;
    let to = Array::whole(&sorted)?;
    let args = [Arg::Size(n), Arg::Size(tile), Arg::Of(&from), Arg::Of(&to)];
    launch(device, (File::Lookup, "merge"), dtype, Grid::each(n), &args)?;
    Ok(sorted)
}

impl<'a> Numbers<'a> {
    /// For a table of `entries` rows.
    pub(crate) fn new(indices: &'a Array<'a>, entries: usize) -> Result<Self> {
        match entries < u32::MAX as usize {
            true => Ok(Self { indices, entries }),
            false => bail!("a table of {entries} rows: more than 32 bits count"),
        }
    }

    fn args(&self) -> Result<[Arg<'a>; 4]> {
        let indices = Some(self.indices);
        let [wide, middle, narrow] = match self.indices.dtype {
            DType::I64 => [indices, None, None],
            DType::U32 => [None, indices, None],
            DType::U8 => [None, None, indices],
            other => bail!("indices of {other:?} on a card; convert them with `to_dtype`"),
        };
        let [wide, middle, narrow] = [wide, middle, narrow].map(Arg::Maybe);
        Ok([Arg::Size(self.entries), wide, middle, narrow])
    }
}
