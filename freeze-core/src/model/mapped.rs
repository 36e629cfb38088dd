//! Builds views, and models whose tensors can train, by mapping a model.

use std::collections::HashMap;

use candle_core::{Tensor, TensorId, Var};

use crate::error::Result;
use crate::model::{At, BatchNormPolicy, Mapper, Role};
use crate::plan::{FreezePlan, LeafState};

/// The view under `plan` of the model that `map` maps, over the same tensors: frozen parameters are
/// detached, running statistics are shared.
pub(crate) fn view<M>(
    plan: &FreezePlan,
    policy: BatchNormPolicy,
    map: impl FnOnce(&mut Mapper<'_>) -> Result<M>,
) -> Result<M> {
    let mut detach = |at: At<'_>, tensor: &Tensor| match (at.state, at.role) {
        (LeafState::Frozen, Role::Weight) => Ok(tensor.detach()),
        _ => Ok(tensor.clone()),
    };
    let mut mapper = Mapper::of_plan(&mut detach, plan, policy);
    let view = map(&mut mapper)?;
    let paths: Vec<String> = mapper.into_heads().into_iter().map(|head| head.path).collect();
    plan.check_paths(&paths)?;
    Ok(view)
}

/// The model with those plain floating-point parameters turned into variables that are `wanted`.
pub(crate) fn into_trainable<M>(
    wanted: impl Fn(TensorId) -> bool,
    map: impl FnOnce(&mut Mapper<'_>) -> Result<M>,
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
    map(&mut Mapper::new(&mut promote, &[], BatchNormPolicy::AsCaller))
}
