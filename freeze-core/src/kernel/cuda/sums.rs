//! Sums of columns, in strips of rows and then over the strips, always in one order.

use candle_core::{CudaDevice, CudaStorage, Result, bail};

use super::array::{Array, empty};
use super::launch::{Arg, Grid, launch};
use super::source::File;
use crate::kernel::internal_dtype;

/// The sums of the columns of rows of `len` elements.
pub(crate) fn column_sums(
    device: &CudaDevice,
    values: &Array<'_>,
    len: usize,
) -> Result<CudaStorage> {
    match sums(device, values, None, len, [true, false])? {
        [Some(sums), _] => Ok(sums),
        _ => bail!("no sums"),
    }
}

/// Those of the sums of `grad`'s columns, and of its products' with the rows that `normalize` made of `x` and
/// `stats`, that are wanted.
pub(crate) fn normal_column_sums(
    device: &CudaDevice,
    [grad, x]: [&Array<'_>; 2],
    stats: &CudaStorage,
    len: usize,
    wanted: [bool; 2],
) -> Result<[Option<CudaStorage>; 2]> {
    let stats = Array::whole(stats)?;
    if x.len != grad.len || stats.len * len != 3 * x.len {
        bail!("a gradient of {} elements for {} in rows of {len}", grad.len, x.len)
    }
    sums(device, grad, Some((x, &stats)), len, wanted)
}

fn sums(
    device: &CudaDevice,
    grad: &Array<'_>,
    normal: Option<(&Array<'_>, &Array<'_>)>,
    len: usize,
    wanted: [bool; 2],
) -> Result<[Option<CudaStorage>; 2]> {
    if len == 0 || !grad.len.is_multiple_of(len) {
        bail!("columns of {} elements in rows of {len}", grad.len)
    }
    let (rows, dtype) = (grad.len / len, grad.dtype);
    let plan = Plan::of(rows, len);
    let storage = |wanted: bool| wanted.then(|| empty(device, len, dtype)).transpose();
    let found = [storage(wanted[0])?, storage(wanted[1])?];
    let arrays = [found[0].as_ref().map(Array::whole), found[1].as_ref().map(Array::whole)];
    let [plain, scaled] = arrays.map(Option::transpose);
    let (plain, scaled) = (plain?, scaled?);
    let kinds = found.iter().flatten().count();
    let parts = match plan.strips {
        1 => None,
        strips => Some(empty(device, kinds * strips * len, internal_dtype(dtype))?),
    };
    let parts = parts.as_ref().map(Array::whole).transpose()?;
    let normal = normal.filter(|_| wanted[1]).unzip();
    let args = [
        Arg::Size(rows),
        Arg::Size(len),
        Arg::Size(plan.per),
        Arg::Flag(plan.across as u32),
        Arg::Of(grad),
        Arg::Maybe(normal.0),
        Arg::Maybe(normal.1),
        Arg::Maybe(parts.as_ref()),
        Arg::Maybe(plain.as_ref()),
        Arg::Maybe(scaled.as_ref()),
    ];
    launch(device, (File::Sums, "columns"), dtype, plan.grid(len, plan.strips), &args)?;
    if let Some(parts) = &parts {
        let args = [
            Arg::Size(plan.strips),
            Arg::Size(len),
            Arg::Flag(plan.across as u32),
            Arg::Of(parts),
            Arg::Maybe(plain.as_ref().or(scaled.as_ref())),
            Arg::Maybe(scaled.as_ref()),
        ];
        launch(device, (File::Sums, "fold"), dtype, plan.grid(len, kinds), &args)?;
    }
    Ok(found)
}

/// How a matrix is divided.
#[derive(Debug, PartialEq)]
struct Plan {
    /// The columns of a block, a power of 2.
    across: usize,
    /// The rows of a strip.
    per: usize,
    strips: usize,
}

impl Plan {
    const THREADS: usize = 256;
    /// As many blocks as a large card runs at a time.
    const BLOCKS: usize = 1056;

    fn of(rows: usize, len: usize) -> Self {
        // As many columns as lie in the memory that is read at once, and more where there are few rows.
        let columns = len.next_power_of_two().min(32);
        let across = (Self::THREADS / rows.next_power_of_two().min(Self::THREADS)).max(columns);
        let at_once = Self::THREADS / across;
        let strips = (Self::BLOCKS / len.div_ceil(across)).clamp(1, Self::THREADS);
        // A thread adds at least 8 numbers, and no more than can be added one by one accurately.
        let strips = strips.min(rows.div_ceil(8 * at_once)).max(rows.div_ceil(at_once << 12));
        let per = rows.div_ceil(strips.min(0xffff));
        Self { across, per, strips: rows.div_ceil(per) }
    }

    fn grid(&self, len: usize, deep: usize) -> Grid {
        Grid { blocks: [len.div_ceil(self.across), deep, 1], threads: Self::THREADS as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_strip() {
        for rows in [1, 2, 3, 63, 64, 65, 4099, 1 << 20, 1 << 40] {
            for len in [1, 3, 32, 33, 768, 100_000] {
                let Plan { across, per, strips } = Plan::of(rows, len);
                assert!(across.is_power_of_two() && across <= 256, "{rows} {len}");
                assert!(strips <= 0xffff && per * (strips - 1) < rows && per * strips >= rows);
            }
        }
        assert_eq!(Plan::of(8192, 768), Plan { across: 32, per: 187, strips: 44 });
    }
}
