//! Digests of the bytes of rows.

use candle_core::backend::BackendStorage;
use candle_core::{CudaDevice, CudaStorage, DType, Result, Tensor, bail};

use super::array::{Array, empty, on_card};
use super::launch::{Arg, Grid, launch};
use super::source::File;

/// Two sums of each piece, of as many words of 8 bytes, of each of the `rows` rows of a tensor, which is not empty. Waits
/// for the card.
pub(crate) fn row_digests(tensor: &Tensor, rows: usize, words: usize) -> Result<Vec<[u64; 2]>> {
    let sums = on_card([tensor], |device, [array]| sums(device, array, rows, words))?;
    let sums = sums.to_cpu_storage()?;
    let pairs = sums.as_slice::<i64>()?.as_chunks::<2>().0;
    Ok(pairs.iter().map(|pair| pair.map(|sum| sum as u64)).collect())
}

fn sums(device: &CudaDevice, array: Array<'_>, rows: usize, words: usize) -> Result<CudaStorage> {
    let bytes = array.counted_as(DType::U8)?;
    let Some(width) = bytes.len.checked_div(rows).filter(|width| width * rows == bytes.len) else {
        bail!("{} bytes in {rows} rows", bytes.len)
    };
    let pieces = width.div_ceil(8 * words);
    let sums = empty(device, 2 * rows * pieces, DType::I64)?;
    let to = Array::whole(&sums)?;
    let [width, each, words] = [width, pieces, words].map(Arg::Size);
    let args = [width, each, words, Arg::Of(&bytes), Arg::Of(&to)];
    let grid = Grid { blocks: [rows * pieces, 1, 1], threads: 256 };
    launch(device, (File::Digest, "digest"), DType::F32, grid, &args)?;
    Ok(sums)
}
