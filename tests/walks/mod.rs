//! To ask a model and to map it are one walk.

use candle_core::{Tensor, TensorId};
use freeze_core::{Freezable, LeafTree, Mapper, Result};

/// A model as if its `map_params` alone were written, so that whatever is asked of it maps it.
struct Mapped<'a, M>(&'a M);

impl<M: Freezable> Freezable for Mapped<'_, M> {
    const LEAVES: LeafTree = M::LEAVES;
    const HAS_LEAVES: bool = M::HAS_LEAVES;

    fn map_params(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        self.0.map_params(mapper)?;
        Ok(Self(self.0))
    }
}

/// Checks that `model` answers as it does when it is mapped: leaves, names, order, tensors, errors.
#[track_caller]
pub(crate) fn assert_same_walks<M: Freezable>(model: &M) {
    assert_eq!(said(model), said(&Mapped(model)), "visit_params and map_params differ");
}

fn said<M: Freezable>(model: &M) -> [String; 3] {
    let id = |(name, tensor): (String, Tensor)| -> (String, TensorId) { (name, tensor.id()) };
    let tensors = model.named_tensors().map(|named| named.into_iter().map(id).collect::<Vec<_>>());
    let vars = model.named_vars().map(|named| {
        named.into_iter().map(|(name, var)| id((name, var.as_tensor().clone()))).collect::<Vec<_>>()
    });
    [format!("{:?}", model.leaves()), format!("{tensors:?}"), format!("{vars:?}")]
}
