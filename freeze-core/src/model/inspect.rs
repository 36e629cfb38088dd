//! What a model is made of: leaves, variables, tensors; and the mappings behind the trait.

use std::collections::{HashMap, HashSet};

use candle_core::{DType, Shape, Tensor, TensorId, Var};

use crate::error::Result;
use crate::model::mapper::{Head, is_at_or_below};
use crate::model::{At, BatchNormPolicy, Freezable, Generator, Mapper, Role};
use crate::plan::{Declared, FreezePlan, LeafState};

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

/// Shows every tensor of `model` to `see`, in order, and returns the leaves passed.
pub(crate) fn visit<M: Freezable>(
    model: &M,
    mut see: impl FnMut(At<'_>, &Tensor),
) -> Result<Vec<Head>> {
    let mut keep = |at: At<'_>, tensor: &Tensor| {
        see(at, tensor);
        Ok(tensor.clone())
    };
    let mut mapper = Mapper::new(&mut keep, &[], BatchNormPolicy::AsCaller);
    model.map_params(&mut mapper)?;
    Ok(mapper.into_heads())
}

pub(crate) fn leaves<M: Freezable>(model: &M) -> Result<Vec<Leaf>> {
    let mut params: Vec<(usize, Param)> = Vec::new();
    let heads = visit(model, |at, tensor| {
        let param = Param {
            name: at.param.to_string(),
            full_name: at.name(),
            shape: tensor.shape().clone(),
            dtype: tensor.dtype(),
            role: at.role,
            trainable: is_trainable(at, tensor),
            no_decay: at.declared.is_spared_decay(),
            id: tensor.id(),
        };
        params.push((at.leaf, param));
    })?;
    let leaf = |(index, head): (usize, Head)| Leaf {
        index,
        path: head.path,
        kind: head.kind,
        declared: head.declared,
        params: Vec::new(),
        no_backward: head.no_backward,
    };
    let mut leaves: Vec<Leaf> = heads.into_iter().enumerate().map(leaf).collect();
    for (index, param) in params {
        leaves[index].params.push(param);
    }
    Ok(leaves)
}

/// Whether a gradient step can move the tensor.
pub(crate) fn is_trainable(at: At<'_>, tensor: &Tensor) -> bool {
    at.role == Role::Weight && tensor.is_variable() && tensor.dtype().is_float()
}

pub(crate) fn named_vars<M: Freezable>(model: &M) -> Result<Vec<(String, Var)>> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    visit(model, |at, tensor| {
        if is_trainable(at, tensor) && seen.insert(tensor.id()) {
            found.push((at.name(), tensor.clone()));
        }
    })?;
    found.into_iter().map(|(name, tensor)| Ok((name, Var::from_tensor(&tensor)?))).collect()
}

pub(crate) fn named_tensors<M: Freezable>(model: &M) -> Result<Vec<(String, Tensor)>> {
    let mut found = Vec::new();
    visit(model, |at, tensor| found.push((at.name(), tensor.clone())))?;
    Ok(found)
}

/// The random generators of `model`, under the paths of the parts that draw from them; a shared one
/// under each.
pub(crate) fn generators<M: Freezable>(model: &M) -> Result<Vec<(String, Generator)>> {
    let mut keep = |_: At<'_>, tensor: &Tensor| Ok(tensor.clone());
    let mut mapper = Mapper::new(&mut keep, &[], BatchNormPolicy::AsCaller);
    model.map_params(&mut mapper)?;
    Ok(mapper.into_generators())
}

/// The model as `plan` has it, over the same tensors: frozen parameters are detached, running
/// statistics are the model's own.
pub(crate) fn view<M: Freezable>(
    model: &M,
    plan: &FreezePlan,
    policy: BatchNormPolicy,
) -> Result<M> {
    let mut detach = |at: At<'_>, tensor: &Tensor| match (at.state, at.role) {
        (LeafState::Frozen, Role::Weight) => Ok(tensor.detach()),
        _ => Ok(tensor.clone()),
    };
    let mut mapper = Mapper::of_plan(&mut detach, plan, policy);
    let view = model.map_params(&mut mapper)?;
    let paths: Vec<String> = mapper.into_heads().into_iter().map(|head| head.path).collect();
    plan.check_paths(&paths)?;
    Ok(view)
}

pub(crate) fn into_trainable_matching<M: Freezable>(model: &M, pattern: &str) -> Result<M> {
    let mut plan = FreezePlan::all_trained(model)?;
    plan.freeze(pattern)?;
    let mut wanted: HashSet<TensorId> = HashSet::new();
    visit(model, |at, tensor| {
        if plan.states()[at.leaf].is_frozen() {
            wanted.insert(tensor.id());
        }
    })?;
    into_trainable(model, |id| wanted.contains(&id))
}

/// Turns the plain floating-point parameters that are `wanted` into variables.
pub(crate) fn into_trainable<M: Freezable>(
    model: &M,
    wanted: impl Fn(TensorId) -> bool,
) -> Result<M> {
    let mut made: HashMap<TensorId, Tensor> = HashMap::new();
    let mut promote = |at: At<'_>, tensor: &Tensor| {
        let stays = at.role == Role::Buffer || tensor.is_variable() || !tensor.dtype().is_float();
        if stays || !wanted(tensor.id()) {
            return Ok(tensor.clone());
        }
        if let Some(var) = made.get(&tensor.id()) {
            return Ok(var.clone());
        }
        let var = Var::from_tensor(&tensor.detach())?.into_inner();
        made.insert(tensor.id(), var.clone());
        Ok(var)
    };
    let mut mapper = Mapper::new(&mut promote, &[], BatchNormPolicy::AsCaller);
    model.map_params(&mut mapper)
}
