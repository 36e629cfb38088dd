//! One leaf of a model, with its tensors.

use candle_core::{DType, Shape, TensorId};

use crate::model::Role;
use crate::model::mapper::is_at_or_below;
use crate::plan::Declared;

/// One leaf layer of a model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leaf {
    /// Counted from the front of the model.
    pub index: usize,
    /// Field names and indices joined by dots; empty if the model itself is a leaf.
    pub path: String,
    /// The layer's type name.
    pub kind: &'static str,
    /// What the model's type declares of it.
    pub declared: Declared,
    /// Its tensors in order.
    pub params: Vec<Param>,
    /// The type of the layer of candle in it whose forward records no backward.
    pub(crate) no_backward: Option<&'static str>,
}

/// One tensor of a leaf.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Param {
    /// The name within the leaf, such as `weight`; empty for a bare tensor.
    pub name: String,
    /// The full name, such as `blocks.3.conv1.weight`.
    pub full_name: String,
    /// The dimensions.
    pub shape: Shape,
    /// The element type.
    pub dtype: DType,
    /// Parameter or running statistic.
    pub role: Role,
    /// Whether a gradient step can move it: a parameter that is a candle variable. A frozen view's
    /// frozen parameters, buffers and plain tensors are not.
    pub trainable: bool,
    /// Declared to have no weight decay, by itself or with its leaf.
    pub no_decay: bool,
    /// candle's identity of the tensor: equal for tied parameters.
    pub id: TensorId,
}

impl Leaf {
    /// The number of trained-by-gradient elements: buffers are not counted.
    pub fn elements(&self) -> usize {
        let weights = self.params.iter().filter(|param| param.role == Role::Weight);
        weights.map(|param| param.shape.elem_count()).sum()
    }

    /// Whether any parameter can be moved by a gradient step.
    pub fn is_trainable(&self) -> bool {
        self.params.iter().any(|param| param.trainable)
    }

    pub(crate) fn is_at_or_below(&self, path: &str) -> bool {
        is_at_or_below(&self.path, path)
    }
}

/// Every path of a leaf or a group, for near names.
pub(crate) fn prefixes(leaves: &[Leaf]) -> impl Iterator<Item = &str> {
    leaves.iter().flat_map(|leaf| {
        let dots = leaf.path.match_indices('.').map(|(end, _)| &leaf.path[..end]);
        dots.chain([leaf.path.as_str()])
    })
}
