//! The softmax of attention's scores, in place, and the way back through it.

use candle_core::{CudaDevice, Result, bail};

use super::{Arg, Array, File, Grid, launch};
use crate::kernel::attention::{Sight, Sizes};

/// A row of at most so many scores has one warp.
const SHORT: usize = 512;

/// What makes probabilities of products of queries and keys: a scale, the keys that are seen, and what is added, a row
/// for each query, with the steps from one batch, head and query to the next.
#[derive(Clone, Copy)]
pub(crate) struct Softmax<'a> {
    pub(crate) sizes: Sizes,
    pub(crate) scale: f64,
    pub(crate) sight: Sight,
    pub(crate) bias: Option<(Array<'a>, [usize; 3])>,
}

impl Softmax<'_> {
    /// Turns the products, `[batch, heads, queries, keys]`, into probabilities, in place; a query that sees no key
    /// has zeros.
    pub(crate) fn forward(&self, device: &CudaDevice, scores: Array<'_>) -> Result<()> {
        let Sizes { batch, heads, queries, keys, .. } = self.sizes;
        let (bias, steps) = self.bias.unzip();
        if let (Some(bias), Some(steps)) = (bias, steps) {
            let rows = steps.iter().zip([batch, heads, queries]);
            let needed = rows.map(|(step, count)| step * (count - 1)).sum::<usize>() + keys;
            if bias.len < needed {
                bail!("a mask of {} elements, of which {needed} are read", bias.len)
            }
        }
        let mut args = vec![Arg::Of(&scores), Arg::Number(self.scale), Arg::Maybe(bias.as_ref())];
        args.extend(steps.unwrap_or_default().map(Arg::Size));
        self.launch(device, "probabilities", scores, &[heads, queries, keys], &args)
    }

    /// Turns the gradients of the probabilities into those of the products, in place.
    pub(crate) fn backward(
        &self,
        device: &CudaDevice,
        probabilities: Array<'_>,
        grads: Array<'_>,
    ) -> Result<()> {
        if probabilities.len != grads.len {
            bail!("{} gradients of {} probabilities", grads.len, probabilities.len)
        }
        let Sizes { queries, keys, .. } = self.sizes;
        let args = [Arg::Of(&probabilities), Arg::Of(&grads), Arg::Number(self.scale)];
        self.launch(device, "through_softmax", grads, &[queries, keys], &args)
    }

    /// Runs a kernel that takes the rows, these sizes, whether keys are hidden, and what else is given.
    fn launch(
        &self,
        device: &CudaDevice,
        kernel: &'static str,
        scores: Array<'_>,
        sizes: &[usize],
        more: &[Arg<'_>],
    ) -> Result<()> {
        let Sizes { batch, heads, queries, keys, .. } = self.sizes;
        if scores.len != self.sizes.scores() || scores.len == 0 {
            bail!("{} scores, expected {}", scores.len, self.sizes.scores())
        }
        let (rows, by_warp) = (batch * heads * queries, keys <= SHORT);
        let grid = match by_warp {
            true => Grid { blocks: [rows.div_ceil(4), 1, 1], threads: 4 * 32 },
            false => Grid::rows(rows, keys),
        };
        let mut args = vec![Arg::Flag(by_warp.into()), Arg::Size(rows)];
        args.extend(sizes.iter().copied().map(Arg::Size));
        args.push(Arg::Flag(u32::from(self.sight == Sight::Causal)));
        args.extend(more);
        launch(device, (File::Attention, kernel), scores.dtype, grid, &args)
    }
}
