//! The softmax of attention's scores, in place, and the way back through it.

use candle_core::{CudaDevice, Result, bail};

use super::{Arg, Array, File, Grid, launch};
use crate::kernel::attention::{Piece, Sight, Sizes};

/// A row of at most so many scores has one warp.
const SHORT: usize = 512;

/// What makes probabilities of scores: the keys that are seen, and what is added, a row for each query, with the steps
/// from one batch, head and query to the next.
#[derive(Clone, Copy)]
pub(crate) struct Softmax<'a> {
    pub(crate) sizes: Sizes,
    pub(crate) sight: Sight,
    pub(crate) bias: Option<(Array<'a>, [usize; 3])>,
}

impl Softmax<'_> {
    /// Turns the scores of a piece into probabilities, in place; a query that sees no key has zeros.
    pub(crate) fn forward(
        &self,
        device: &CudaDevice,
        piece: &Piece,
        scores: Array<'_>,
    ) -> Result<()> {
        let Sizes { batch, heads, queries, keys, .. } = self.sizes;
        let (bias, steps) = self.bias.unzip();
        if let (Some(bias), Some(steps)) = (bias, steps) {
            let rows = steps.iter().zip([batch, heads, queries]);
            let needed = rows.map(|(step, count)| step * (count - 1)).sum::<usize>() + keys;
            if bias.len < needed {
                bail!("a mask of {} elements, of which {needed} are read", bias.len)
            }
        }
        let mut args = vec![Arg::Of(&scores), Arg::Maybe(bias.as_ref()), Arg::Size(heads)];
        args.extend(steps.unwrap_or_default().map(Arg::Size));
        self.launch(device, "probabilities", piece, scores, &args)
    }

    /// Turns the gradients of a piece's probabilities into those of the products of queries and keys, of which each
    /// score is `scale` times one, in place.
    pub(crate) fn backward(
        &self,
        device: &CudaDevice,
        piece: &Piece,
        scale: f64,
        [probabilities, grads]: [Array<'_>; 2],
    ) -> Result<()> {
        if probabilities.len != grads.len {
            bail!("{} gradients of {} probabilities", grads.len, probabilities.len)
        }
        let args = [Arg::Of(&probabilities), Arg::Of(&grads), Arg::Number(scale)];
        self.launch(device, "through_softmax", piece, grads, &args)
    }

    /// Runs a kernel that takes the rows, these sizes, whether keys are hidden, and what else is given.
    fn launch(
        &self,
        device: &CudaDevice,
        kernel: &'static str,
        piece: &Piece,
        scores: Array<'_>,
        more: &[Arg<'_>],
    ) -> Result<()> {
        let Sizes { queries, keys, .. } = self.sizes;
        let (rows, by_warp) = (piece.rows(), keys <= SHORT);
        if scores.len != rows * keys || scores.len == 0 {
            bail!("{} scores, expected {}", scores.len, rows * keys)
        }
        let grid = match by_warp {
            true => Grid { blocks: [rows.div_ceil(4), 1, 1], threads: 4 * 32 },
            false => Grid::rows(rows, keys),
        };
        let mut args = vec![Arg::Flag(by_warp.into())];
        args.extend([rows, piece.row(&self.sizes), queries, keys].map(Arg::Size));
        args.push(Arg::Flag(u32::from(self.sight == Sight::Causal)));
        args.extend(more);
        launch(device, (File::Attention, kernel), scores.dtype, grid, &args)
    }
}
