//! The softmax of attention's scores, in place, and the way back through it.

use candle_core::{CudaDevice, Result, bail};

use super::{Arg, Array, File, Grid, launch};
use crate::kernel::attention::{Sight, Sizes};

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
        self.check(scores)?;
        let (bias, steps) = self.bias.unzip();
        if let (Some(bias), Some(steps)) = (bias, steps) {
            let rows = steps.iter().zip([batch, heads, queries]);
            let needed = rows.map(|(step, count)| step * (count - 1)).sum::<usize>() + keys;
            if bias.len < needed {
                bail!("a mask of {} elements, of which {needed} are read", bias.len)
            }
        }
        let mut args = [heads, queries, keys].map(Arg::Size).to_vec();
        args.extend([Arg::Of(&scores), Arg::Number(self.scale), self.causal()]);
        args.push(Arg::Maybe(bias.as_ref()));
        args.extend(steps.unwrap_or_default().map(Arg::Size));
        let grid = Grid::rows(batch * heads * queries, keys);
        launch(device, (File::Attention, "probabilities"), scores.dtype, grid, &args)
    }

    /// Turns the gradients of the probabilities into those of the products, in place.
    pub(crate) fn backward(
        &self,
        device: &CudaDevice,
        probabilities: Array<'_>,
        grads: Array<'_>,
    ) -> Result<()> {
        let Sizes { batch, heads, queries, keys, .. } = self.sizes;
        self.check(probabilities)?;
        self.check(grads)?;
        let mut args = [queries, keys].map(Arg::Size).to_vec();
        args.extend([Arg::Of(&probabilities), Arg::Of(&grads)]);
        args.extend([Arg::Number(self.scale), self.causal()]);
        let grid = Grid::rows(batch * heads * queries, keys);
        launch(device, (File::Attention, "through_softmax"), grads.dtype, grid, &args)
    }

    fn causal(&self) -> Arg<'static> {
        Arg::Flag(u32::from(self.sight == Sight::Causal))
    }

    fn check(&self, scores: Array<'_>) -> Result<()> {
        match scores.len == self.sizes.scores() && scores.len > 0 {
            true => Ok(()),
            false => bail!("{} scores, expected {}", scores.len, self.sizes.scores()),
        }
    }
}
