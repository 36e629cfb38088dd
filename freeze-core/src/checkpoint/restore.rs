//! The model's side of a resume: staged first, then taken up.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Tensor, TensorId, Var};

use super::state::State;
use crate::{At, Freezable, FreezePlan, Freezer, LeafState, Mapper, Result, Role};

/// What was read, by field path, in host memory.
#[derive(Default)]
pub(super) struct Loaded {
    /// Of every tensor of the model one of the same shape and type.
    pub(super) model: BTreeMap<String, Tensor>,
    /// The running statistics that frozen layers of the view kept for themselves.
    pub(super) view: BTreeMap<String, Tensor>,
}

/// Restored tensors on the model's device, and the view that shows them.
pub(super) struct Restore<M> {
    sets: Vec<(Var, Tensor)>,
    /// `None` if every tensor is a variable, so that the model can stay.
    whole: Option<M>,
    view: M,
    plan: FreezePlan,
    base: FreezePlan,
    batch_norm: crate::BatchNormPolicy,
}

impl<M: Freezable> Restore<M> {
    /// Copies what was loaded to the model's device and builds the view; changes nothing.
    pub(super) fn prepare(
        net: &Freezer<M>,
        model: &[(String, Tensor)],
        loaded: &Loaded,
        state: &State,
    ) -> Result<Self> {
        let (mut sets, mut fresh, mut plain) = (Vec::new(), HashMap::new(), false);
        for (name, tensor) in model {
            let Some(saved) = loaded.model.get(name) else { continue };
            let saved = saved.to_device(tensor.device())?;
            if tensor.is_variable() {
                sets.push((Var::from_tensor(tensor)?, saved.clone()));
            } else {
                plain = true;
            }
            fresh.insert(tensor.id(), saved);
        }
        let whole = match plain {
            true => Some(with_plain(net.whole(), &fresh)?),
            false => None,
        };
        let view = view(net.whole(), &fresh, &loaded.view, state)?;
        let (plan, base) = (state.plan.clone(), state.base_plan.clone());
        Ok(Self { sets, whole, view, plan, base, batch_norm: state.batch_norm })
    }

    /// Sets the variables and shows the new view. Shape, type and device agree, and a variable is
    /// always contiguous, so only a device that fails can stop it.
    pub(super) fn commit(self, net: &mut Freezer<M>) -> Result<()> {
        for (var, value) in &self.sets {
            var.set(value)?;
        }
        if let Some(whole) = self.whole {
            net.whole = whole;
        }
        net.view = self.view;
        net.plan = self.plan;
        net.base = self.base;
        net.batch_norm = self.batch_norm;
        Ok(())
    }
}

/// The model with its plain tensors, which cannot be set, replaced; variables stay.
fn with_plain<M: Freezable>(whole: &M, fresh: &HashMap<TensorId, Tensor>) -> Result<M> {
    let mut replace = |_: At<'_>, tensor: &Tensor| Ok(current(tensor, fresh).clone());
    whole.map_params(&mut Mapper::new(&mut replace, &[], crate::BatchNormPolicy::AsCaller))
}

/// The view that there will be once the variables are set: what it shares with the model is shared,
/// what it keeps for itself is what it kept when the run was saved.
fn view<M: Freezable>(
    whole: &M,
    fresh: &HashMap<TensorId, Tensor>,
    own: &BTreeMap<String, Tensor>,
    state: &State,
) -> Result<M> {
    let mut show = |at: At<'_>, tensor: &Tensor| match (at.state, at.role) {
        (LeafState::Trained { .. }, _) => Ok(current(tensor, fresh).clone()),
        (LeafState::Frozen, Role::Weight) => Ok(current(tensor, fresh).detach()),
        (LeafState::Frozen, Role::Buffer) => match own.get(&at.name()) {
            Some(own) => Ok(own.to_device(tensor.device())?.copy()?),
            None => Ok(current(tensor, fresh).clone()),
        },
    };
    whole.map_params(&mut Mapper::new(&mut show, state.plan.states(), state.batch_norm))
}

/// A variable itself, since it will be set; a plain tensor's replacement.
fn current<'a>(tensor: &'a Tensor, fresh: &'a HashMap<TensorId, Tensor>) -> &'a Tensor {
    match tensor.is_variable() {
        true => tensor,
        false => fresh.get(&tensor.id()).unwrap_or(tensor),
    }
}
