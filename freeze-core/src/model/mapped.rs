//! Builds views, and models whose tensors can train, by mapping a model.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::{Tensor, Var};

use crate::error::Result;
use crate::kernel::ElementsId;
use crate::model::inspect::{is_trainable, visit};
use crate::model::mapper::Walk;
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

/// The model with those plain floating-point parameters turned into variables that are `wanted`. In a view what is
/// tied may be a variable here and detached there.
pub(crate) fn into_trainable<M>(
    wanted: impl Fn(&ElementsId) -> bool,
    walk: &Walk<'_>,
    map: impl FnOnce(&mut Mapper<'_>) -> Result<M>,
) -> Result<M> {
    let mut vars: HashMap<ElementsId, Tensor> = HashMap::new();
    visit(walk, |at, tensor| {
        if is_trainable(at, tensor) {
            vars.insert(ElementsId::of(tensor), tensor.clone());
        }
    })?;
    let mut promote = |at: At<'_>, tensor: &Tensor| {
        if at.role == Role::Buffer || tensor.is_variable() || !tensor.dtype().is_float() {
            return Ok(tensor.clone());
        }
        let elements = ElementsId::of(tensor);
        if !wanted(&elements) {
            return Ok(tensor.clone());
        }
        Ok(match vars.entry(elements) {
            Entry::Occupied(var) => var.get().clone(),
            Entry::Vacant(place) => {
                place.insert(Var::from_tensor(&tensor.detach())?.into_inner()).clone()
            }
        })
    };
    map(&mut Mapper::new(&mut promote, &[], BatchNormPolicy::AsCaller))
}
