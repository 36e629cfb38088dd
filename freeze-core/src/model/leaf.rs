//! One leaf of a model, with its tensors.

use candle_core::{DType, Shape, TensorId};

use crate::kernel::ElementsId;
use crate::model::Role;
use crate::model::mapper::is_at_or_below;
use crate::plan::Declared;

/// One leaf layer of a model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leaf {
    /// The index from the front of the model, starting at 0.
    pub index: usize,
    /// Field names and indices joined by dots; empty if the model itself is a leaf.
    pub path: String,
    /// The layer's type name.
    pub kind: &'static str,
    /// The attributes that the model's type declares for it.
    pub declared: Declared,
    /// Its tensors in order.
    pub params: Vec<Param>,
    /// The type of the candle layer in it whose forward records no backward, if there is one.
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
    /// Whether a gradient step can change it: it is a parameter and a candle variable. False for
    /// buffers, plain tensors, and the frozen parameters of a view.
    pub trainable: bool,
    /// Whether it, or its leaf, is declared to have no weight decay.
    pub no_decay: bool,
    /// candle's id of the tensor: equal for tied parameters, unless a view detached them.
    pub id: TensorId,
    /// Equal for tied parameters in views, too.
    pub(crate) elements: ElementsId,
}

impl Leaf {
    /// The number of elements of all parameters; buffers are not counted.
    pub fn elements(&self) -> usize {
        let weights = self.params.iter().filter(|param| param.role == Role::Weight);
        weights.map(|param| param.shape.elem_count()).sum()
    }

    /// Whether a gradient step can change any of its parameters.
    pub fn is_trainable(&self) -> bool {
        self.params.iter().any(|param| param.trainable)
    }

    pub(crate) fn is_at_or_below(&self, path: &str) -> bool {
        is_at_or_below(&self.path, path)
    }
}

/// The paths of all leaves and groups, to suggest similar names.
pub(crate) fn prefixes(leaves: &[Leaf]) -> impl Iterator<Item = &str> {
    leaves.iter().flat_map(|leaf| {
        let dots = leaf.path.match_indices('.').map(|(end, _)| &leaf.path[..end]);
        dots.chain([leaf.path.as_str()])
    })
}
