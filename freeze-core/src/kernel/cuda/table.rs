//! A table of parameters and gradients on the card, by which one launch reaches all of them.

use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{CudaDevice, CudaStorage, Result, bail};

use super::array::Array;

/// Elements that one block reads, as in `update.cu`.
const PER_BLOCK: usize = 8192;
/// The words of 64 bits of a row: `Parameter` in `update.cu`.
const WORDS: usize = 7;

/// A row of the table; what is missing has no address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) theta: Option<Array<'a>>,
    pub(crate) grad: Array<'a>,
    pub(crate) state: Option<Array<'a>>,
    pub(crate) moments: u32,
    pub(crate) has_master: bool,
    /// Which set of numbers holds for it.
    pub(crate) set: u32,
}

impl<'a> Row<'a> {
    /// A gradient alone.
    pub(crate) fn of_gradient(grad: Array<'a>) -> Self {
        Self { theta: None, grad, state: None, moments: 0, has_master: false, set: 0 }
    }
}

/// The table and the number of blocks that read all of it.
pub(crate) struct Table {
    pub(crate) storage: CudaStorage,
    pub(crate) rows: usize,
    pub(crate) blocks: usize,
}

impl Table {
    /// How many blocks read a row of so many elements.
    pub(crate) fn blocks_of(elements: usize) -> usize {
        elements.div_ceil(PER_BLOCK)
    }

    /// The table of rows of one type, none of which is empty.
    pub(crate) fn new(device: &CudaDevice, rows: &[Row<'_>]) -> Result<Self> {
        let mut words: Vec<i64> = Vec::with_capacity(rows.len() * WORDS);
        let mut blocks = 0;
        for row in rows {
            let n = row.grad.len;
            let states = row.moments as usize + usize::from(row.has_master);
            let room = row.state.map_or(0, |state| state.len);
            if row.theta.is_some_and(|theta| theta.len != n) || room < states * n || n == 0 {
                bail!(
                    "a gradient of {n} elements, with {room} of state, does not fit its parameter"
                )
            }
            let address = |array: Option<Array<'_>>| array.map_or(0, |array| array.address) as i64;
            let pair = |low: u32, high: u32| (u64::from(high) << 32 | u64::from(low)) as i64;
            words.extend([address(row.theta), row.grad.address as i64, address(row.state)]);
            words.extend([n as i64, blocks as i64]);
            words.extend([pair(row.moments, row.has_master.into()), pair(row.set, 0)]);
            blocks += Self::blocks_of(n);
        }
        let storage = upload(device, &words)?;
        Ok(Self { storage, rows: rows.len(), blocks })
    }
}

/// A few numbers, copied to the card behind what was launched before.
pub(crate) fn upload<T: CudaDType + DeviceRepr + 'static>(
    device: &CudaDevice,
    numbers: &[T],
) -> Result<CudaStorage> {
    Ok(T::wrap_cuda_slice(device.clone_htod(numbers)?, device.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_laid_out_as_in_the_source() {
        let source = include_str!("update.cu");
        assert!(source.contains(&format!("PER_BLOCK = {PER_BLOCK};")));
        let (_, behind) = source.split_once("struct Parameter {").unwrap();
        let (fields, _) = behind.split_once("};").unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let expected = "T *theta; const T *grad; A *state; size n, first; unsigned moments, has_master, set, unused;";
        assert_eq!(fields.join(" "), expected);
        assert_eq!(WORDS, 3 + 2 + 4 / 2);
    }
}
