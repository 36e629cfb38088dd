//! Digests of the bytes of rows.

use candle_core::backend::BackendStorage;
use candle_core::{CudaDevice, CudaStorage, DType, Result, Tensor, bail};

use super::array::{Array, empty, on_card};
use super::launch::{Arg, Grid, launch};
use super::source::File;

/// The words that a block reads.
const PIECE: usize = 1 << 13;

/// Two sums of each of the `rows` rows of a tensor. Waits for the card.
pub(crate) fn row_digests(tensor: &Tensor, rows: usize) -> Result<Vec<[u64; 2]>> {
    let sums = on_card([tensor], |device, [array]| sums(device, array, rows))?.to_cpu_storage()?;
    let sums = sums.as_slice::<i64>()?.as_chunks::<2>().0;
    let of_row = |pieces: &[[i64; 2]]| {
        let add = |[a, b]: [u64; 2], [c, d]: &[i64; 2]| {
            [a.wrapping_add(*c as u64), b.wrapping_add(*d as u64)]
        };
        pieces.iter().fold([0; 2], add)
    };
    Ok(sums.chunks_exact(sums.len() / rows).map(of_row).collect())
}

/// The sums of the pieces of each row.
fn sums(device: &CudaDevice, array: Array<'_>, rows: usize) -> Result<CudaStorage> {
    let bytes = array.counted_as(DType::U8)?;
    let Some(width) = bytes.len.checked_div(rows).filter(|width| width * rows == bytes.len) else {
        bail!("{} bytes in {rows} rows", bytes.len)
    };
    let pieces = width.div_ceil(8 * PIECE);
    let sums = empty(device, 2 * rows * pieces, DType::I64)?;
    let to = Array::whole(&sums)?;
    let args = [width, pieces, PIECE].map(Arg::Size);
    let args = [args.as_slice(), &[Arg::Of(&bytes), Arg::Of(&to)]].concat();
    let grid = Grid { blocks: [rows * pieces, 1, 1], threads: 256 };
    launch(device, (File::Digest, "digest"), DType::F32, grid, &args)?;
    Ok(sums)
}
