//! Queries about a model, by a walk that does not rebuild it.

use std::collections::HashSet;

use candle_core::{Tensor, Var};

use crate::error::Result;
use crate::kernel::ElementsId;
use crate::model::mapper::{Head, Walk};
use crate::model::{At, BatchNormPolicy, Generator, Leaf, Mapper, Param, Role};
use crate::plan::{Declared, FreezePlan, LeafState};

/// Shows every tensor that `walk` passes to `see`, in order, and returns the leaves passed.
pub(crate) fn visit(walk: &Walk<'_>, mut see: impl FnMut(At<'_>, &Tensor)) -> Result<Vec<Head>> {
    let mut keep = |at: At<'_>, tensor: &Tensor| {
        see(at, tensor);
        Ok(tensor.clone())
    };
    let mut mapper = Mapper::new(&mut keep, &[], BatchNormPolicy::AsCaller);
    walk(&mut mapper)?;
    Ok(mapper.into_heads())
}

pub(crate) fn leaves(walk: &Walk<'_>) -> Result<Vec<Leaf>> {
    let mut params: Vec<(usize, Param)> = Vec::new();
    let heads = visit(walk, |at, tensor| {
        let param = Param {
            name: at.param.to_string(),
            full_name: at.name(),
            shape: tensor.shape().clone(),
            dtype: tensor.dtype(),
            role: at.role,
            trainable: is_trainable(at, tensor),
            no_decay: at.declared.is_spared_decay(),
            id: tensor.id(),
            elements: ElementsId::of(tensor),
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

pub(crate) fn named_vars(walk: &Walk<'_>) -> Result<Vec<(String, Var)>> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    visit(walk, |at, tensor| {
        if is_trainable(at, tensor) && seen.insert(tensor.id()) {
            found.push((at.name(), tensor.clone()));
        }
    })?;
    as_vars(found)
}

/// The running statistics that are variables, with their names; a shared one once for each layer.
pub(crate) fn statistics(walk: &Walk<'_>) -> Result<Vec<(String, Var)>> {
    let mut found = Vec::new();
    visit(walk, |at, tensor| {
        if at.role == Role::Buffer && tensor.is_variable() {
            found.push((at.name(), tensor.clone()));
        }
    })?;
    as_vars(found)
}

pub(crate) fn named_tensors(walk: &Walk<'_>) -> Result<Vec<(String, Tensor)>> {
    let mut found = Vec::new();
    visit(walk, |at, tensor| found.push((at.name(), tensor.clone())))?;
    Ok(found)
}

/// The same variables as candle's type for them.
fn as_vars(found: Vec<(String, Tensor)>) -> Result<Vec<(String, Var)>> {
    found.into_iter().map(|(name, tensor)| Ok((name, Var::from_tensor(&tensor)?))).collect()
}

/// The random generators of a model, with the paths of the parts that draw from them; a shared one
/// once for each part.
pub(crate) fn generators(walk: &Walk<'_>) -> Result<Vec<(String, Generator)>> {
    let mut keep = |_: At<'_>, tensor: &Tensor| Ok(tensor.clone());
    let mut mapper = Mapper::new(&mut keep, &[], BatchNormPolicy::AsCaller);
    walk(&mut mapper)?;
    Ok(mapper.into_generators())
}

/// Each random generator of a model once, with the paths of all parts that draw from it, in order.
pub(crate) fn generators_once(walk: &Walk<'_>) -> Result<Vec<(Vec<String>, Generator)>> {
    let mut once: Vec<(Vec<String>, Generator)> = Vec::new();
    for (path, generator) in generators(walk)? {
        match once.iter_mut().find(|(_, known)| known.is(&generator)) {
            Some((paths, _)) => paths.push(path),
            None => once.push((vec![path], generator)),
        }
    }
    Ok(once)
}

/// The plan that the model declares.
pub(crate) fn declared(walk: &Walk<'_>) -> Result<FreezePlan> {
    let heads = visit(walk, |_, _| {})?.into_iter().map(|head| (head.path, head.declared));
    let (paths, declared): (Vec<String>, Vec<Declared>) = heads.unzip();
    FreezePlan::of(paths.into(), &declared, Declared::state)
}

/// The tensors of the leaves that `pattern` matches.
pub(crate) fn matched(walk: &Walk<'_>, pattern: &str) -> Result<HashSet<ElementsId>> {
    let mut plan = declared(walk)?.all(LeafState::TRAINED);
    plan.freeze(pattern)?;
    let mut found = HashSet::new();
    visit(walk, |at, tensor| {
        if plan.states()[at.leaf].is_frozen() {
            found.insert(ElementsId::of(tensor));
        }
    })?;
    Ok(found)
}
