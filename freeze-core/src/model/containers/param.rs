//! Bare tensors that are leaves of their own.

use candle_core::Tensor;

use super::as_array;
use crate::error::Result;
use crate::model::{LeafTree, Mapper};

/// A bare tensor that `#[freeze(param)]` makes a leaf of its own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tensor that can be frozen",
    label = "not a `Tensor`, `Option<Tensor>`, or a `Vec` or array of these",
    note = "`#[freeze(param)]` is for `Tensor`, `Option<Tensor>`, and a `Vec` or array of these",
    note = "a `Var` field: hold its `Tensor` instead, `var.as_tensor().clone()`; it stays a variable"
)]
pub trait TensorParam: Sized {
    /// One leaf, or none where the value has no tensor.
    const LEAVES: LeafTree;

    /// Whether the value has no tensor, so that it is no stage of a model.
    #[doc(hidden)]
    fn is_absent(_: &Self) -> bool {
        false
    }

    /// As [`Freezable::map_params`](crate::Freezable::map_params).
    ///
    /// # Errors
    ///
    /// Those of the mapper's function.
    fn map_param(&self, mapper: &mut Mapper<'_>) -> Result<Self>;

    /// As [`Freezable::visit_params`](crate::Freezable::visit_params).
    ///
    /// # Errors
    ///
    /// Those of the mapper's function.
    fn visit_param(&self, mapper: &mut Mapper<'_>) -> Result<()> {
        self.map_param(mapper).map(drop)
    }
}

const TENSOR: LeafTree = LeafTree::leaf(KIND);
const KIND: &str = "Tensor";

impl TensorParam for Tensor {
    const LEAVES: LeafTree = TENSOR;

    fn map_param(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        mapper.leaf(KIND, |mapper| mapper.weight("", self))
    }
}

impl TensorParam for Option<Tensor> {
    const LEAVES: LeafTree = LeafTree::open("Option", || TENSOR);

    fn is_absent(this: &Self) -> bool {
        this.is_none()
    }

    fn map_param(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        self.as_ref().map(|tensor| tensor.map_param(mapper)).transpose()
    }
}

/// All tensors together are one leaf; an empty list is no leaf.
impl TensorParam for Vec<Tensor> {
    const LEAVES: LeafTree = LeafTree::open("Vec", || TENSOR);

    fn is_absent(this: &Self) -> bool {
        this.is_empty()
    }

    fn map_param(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        let mapped = map(self.iter().map(Some), mapper)?;
        Ok(mapped.into_iter().flatten().collect())
    }
}

/// As a `Vec<Tensor>`; a tensor is named by its index, with absent ones counted.
impl TensorParam for Vec<Option<Tensor>> {
    const LEAVES: LeafTree = LeafTree::open("Vec", || TENSOR);

    fn is_absent(this: &Self) -> bool {
        this.iter().all(Option::is_none)
    }

    fn map_param(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        map(self.iter().map(Option::as_ref), mapper)
    }
}

/// All tensors together are one leaf; an empty array is no leaf.
impl<const N: usize> TensorParam for [Tensor; N] {
    const LEAVES: LeafTree = if N == 0 { LeafTree::EMPTY } else { TENSOR };

    fn map_param(&self, mapper: &mut Mapper<'_>) -> Result<Self> {
        let mapped: Vec<Tensor> =
            map(self.iter().map(Some), mapper)?.into_iter().flatten().collect();
        as_array(mapped, mapper)
    }
}

/// Maps the tensors of a list as one leaf, each named by its index; a list without tensors is no
/// leaf.
fn map<'t>(
    tensors: impl Iterator<Item = Option<&'t Tensor>> + Clone,
    mapper: &mut Mapper<'_>,
) -> Result<Vec<Option<Tensor>>> {
    if tensors.clone().all(|tensor| tensor.is_none()) {
        return Ok(tensors.map(|_| None).collect());
    }
    let tensors = tensors.enumerate();
    mapper.leaf(KIND, |mapper| {
        tensors.map(|(i, tensor)| mapper.optional(&i.to_string(), tensor)).collect()
    })
}
