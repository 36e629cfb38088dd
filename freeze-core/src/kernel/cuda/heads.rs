//! Where the matrices of heads lie, for products of all of them at once.

use candle_core::{CudaDevice, CudaStorage, DType, Result, bail};

use super::products::Matrices;
use super::{Arg, Array, File, Grid, empty, launch};
use crate::kernel::attention::{Piece, Sizes};

/// An array with a matrix for each head of each batch.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a> {
    pub(crate) array: Array<'a>,
    /// Matrices of a batch, their rows and the elements of a row.
    pub(crate) sizes: [usize; 3],
    /// From one batch, matrix and row to the next.
    pub(crate) steps: [usize; 3],
    /// Whether it has a row for each query, not for each key.
    pub(crate) by_query: bool,
}

/// The addresses of a piece's matrices: of up to four arrays, and of the scores.
pub(crate) struct Places {
    addresses: CudaStorage,
    count: usize,
    /// Of the arrays and of the scores.
    dtypes: [DType; 5],
    /// From one row to the next.
    apart: [usize; 5],
}

impl Places {
    /// Those of the piece, which has its scores at the beginning of `scores`.
    pub(crate) fn new(
        device: &CudaDevice,
        sizes: &Sizes,
        piece: &Piece,
        arrays: [Option<Heads<'_>>; 4],
        scores: Array<'_>,
    ) -> Result<Self> {
        let (count, apart) = (piece.heads.len(), piece.queries.len() * sizes.keys);
        let addresses = empty(device, 5 * count, DType::I64)?;
        let to = Array::whole(&addresses)?;
        let mut from = [None; 4];
        let mut lies = [[0, 0, 1]; 4];
        let (mut dtypes, mut rows) = ([scores.dtype; 5], [sizes.keys; 5]);
        for (k, heads) in arrays.into_iter().enumerate() {
            let Some(Heads { array, sizes: of, steps, by_query }) = heads else { continue };
            let last: usize =
                [sizes.batch, of[0], of[1]].iter().zip(steps).map(|(n, by)| (n - 1) * by).sum();
            if array.len < last + of[2] {
                bail!("heads of {of:?} with steps {steps:?} in {} elements", array.len)
            }
            let before = if by_query { piece.queries.start * steps[2] } else { 0 };
            // Sums in f32 of halves: the kernel counts in elements of the scores' type.
            let wide = array.dtype.size_in_bytes() / scores.dtype.size_in_bytes();
            from[k] = Some(array.part(before, array.len)?.counted_as(scores.dtype)?);
            lies[k] = [wide * steps[0], wide * steps[1], sizes.heads / of[0]];
            (dtypes[k], rows[k]) = (array.dtype, steps[2]);
        }
        if scores.len < count * apart {
            bail!("room for {} scores, expected {}", scores.len, count * apart)
        }
        let mut args =
            [piece.heads.start, count, sizes.heads, piece.members(sizes)].map(Arg::Size).to_vec();
        for (array, lie) in from.iter().zip(lies) {
            args.push(Arg::Maybe(array.as_ref()));
            args.extend(lie.map(Arg::Size));
        }
        args.extend([Arg::Of(&scores), Arg::Size(apart), Arg::Of(&to)]);
        launch(device, (File::Attention, "places"), scores.dtype, Grid::each(count), &args)?;
        Ok(Self { addresses, count, dtypes, apart: rows })
    }

    /// The matrices of an array, the scores being the fifth.
    pub(crate) fn matrices(&self, place: usize) -> Result<Matrices<'_>> {
        let all = Array::whole(&self.addresses)?;
        let addresses = all.part(place * self.count, (place + 1) * self.count)?;
        let (dtype, apart) = (self.dtypes[place], self.apart[place]);
        Ok(Matrices { addresses, dtype, apart, turned: false })
    }
}
