//! The forward of attention on a card.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Result};

use super::run::{K, Q, Run, S, V, Y, heads, result};
use crate::kernel::cuda::dropout::drop_in_place;
use crate::kernel::cuda::heads::Places;
use crate::kernel::cuda::products::products;
use crate::kernel::cuda::{Array, empty};
use crate::nn::ops::attention::kept::Attention;
use crate::nn::ops::operation::Operand;

/// The result, in the order of the call.
pub(in super::super) fn forward(
    op: &Attention,
    operands: [Operand<'_, CudaStorage>; 3],
) -> Result<CudaStorage> {
    let (sizes, device, dtype) = (&op.sizes, &operands[0].0.device, operands[0].0.dtype());
    let [q, k, v] = [Q, K, V].map(|place| heads(op, place, operands[place]));
    let (q, k, v) = (q?, k?, v?);
    let made = empty(device, sizes.batch * sizes.result().iter().product::<usize>(), dtype)?;
    let y = result(op, Array::whole(&made)?);
    Run::of(op, device, dtype, |run| {
        let room = run.room()?;
        for piece in &run.pieces {
            let scores = run.scores(piece, &room)?;
            let arrays = [Some(q), Some(k), Some(v), Some(y)];
            let places = Places::new(device, sizes, piece, arrays, scores)?;
            run.probabilities(piece, &places, scores)?;
            if let Some(drops) = run.drops(piece) {
                drop_in_place(device, &drops, scores)?;
            }
            let of = [piece.queries.len(), sizes.width, sizes.keys];
            let from = [places.matrices(S)?, places.matrices(V)?];
            products(device, of, 1.0, from, (places.matrices(Y)?, false))?;
        }
        Ok(())
    })?;
    Ok(made)
}
