//! Whether a constructor builds the same layer each time, and one that follows its tensors.

use std::sync::Arc;

use candle_core::{Tensor, Var};

use super::replay::{Build, Recording, replay};
use crate::bits::bits;
use crate::error::Result;
use crate::model::nudged::nudged;

/// How far tensors are moved, as a share of the largest element of each.
const NUDGE: f64 = 0.05;

/// What is wrong with `layer`, which `build` made of the tensors of `recording`, if anything is.
pub(super) fn fault<L>(
    layer: &L,
    recording: &Arc<Recording>,
    build: &Build<L>,
    forward: impl Fn(&L) -> candle_core::Result<Tensor>,
) -> Result<Option<&'static str>> {
    let computed = |layer: &L| -> Result<(Vec<usize>, Vec<u64>)> {
        let ys = forward(layer)?;
        Ok((ys.dims().to_vec(), bits(&ys)?))
    };
    if computed(layer)? != computed(&replay(recording, build)?)? {
        return Ok(Some(
            "built once more over the same tensors, it computes something else; draw constants \
             once, before, and hand them to the constructor, or get them from the builder",
        ));
    }
    let (copies, weights) = copied(recording)?;
    let copies = Arc::new(copies);
    let built = replay(&copies, build)?;
    for weight in &weights {
        weight.set(&nudged(&weight.as_detached_tensor(), NUDGE)?)?;
    }
    if computed(&built)? != computed(&replay(&copies, build)?)? {
        return Ok(Some(
            "a weight is computed in the constructor, so it would not follow the updates of those \
             that it is computed from; compute it in the forward",
        ));
    }
    Ok(None)
}

/// The recording over variables of its own with the same values, and those of them that training
/// moves.
fn copied(recording: &Recording) -> Result<(Recording, Vec<Var>)> {
    let copy = |tensor: &Tensor| Var::from_tensor(&tensor.detach());
    let copies = recording.tensors.iter().map(|named| copy(&named.tensor));
    let copies = copies.collect::<candle_core::Result<Vec<Var>>>()?;
    let tensors = copies.iter().map(|var| var.as_tensor().clone()).collect();
    let named = recording.tensors.iter().zip(copies);
    let weights = named.filter(|(named, var)| !named.buffer && var.dtype().is_float());
    let weights = weights.map(|(_, var)| var).collect();
    Ok((recording.with_tensors(tensors), weights))
}
