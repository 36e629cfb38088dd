//! Restores the model: prepared first, then committed.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Tensor, TensorId, Var};

use super::state::State;
use crate::error::Result;
use crate::model::{At, BatchNormPolicy, Freezable, Freezer, Generator, Mapper, Revision, mapped};
use crate::nn::DropoutState;
use crate::plan::{FreezePlan, StatePolicy};

/// The restored tensors on the model's device, and the view over them.
pub(super) struct Restore<M> {
    sets: Vec<(Var, Tensor)>,
    /// A new model; `None` if every tensor is a variable, so that the model can stay.
    whole: Option<M>,
    view: M,
    plan: FreezePlan,
    base: FreezePlan,
    batch_norm: BatchNormPolicy,
    why: BTreeMap<String, String>,
    frozen_state: Option<StatePolicy>,
    dropouts: Vec<(Generator, DropoutState)>,
}

impl<M: Freezable> Restore<M> {
    /// Copies the loaded tensors, one of the same shape and type for each of the model's, to the
    /// model's device and builds the view. Changes nothing.
    pub(super) fn prepare(
        net: &Freezer<M>,
        model: &[(String, Tensor)],
        generators: Vec<(String, Generator)>,
        loaded: &BTreeMap<String, Tensor>,
        state: &State,
    ) -> Result<Self> {
        let (mut sets, mut fresh, mut plain) = (Vec::new(), HashMap::new(), false);
        for (name, tensor) in model {
            let Some(saved) = loaded.get(name) else { continue };
            let saved = saved.to_device(tensor.device())?;
            if tensor.is_variable() {
                sets.push((Var::from_tensor(tensor)?, saved));
            } else {
                plain = true;
                fresh.insert(tensor.id(), saved);
            }
        }
        let whole = plain.then(|| with_plain(net.whole(), &fresh)).transpose()?;
        let shown = whole.as_ref().unwrap_or(net.whole());
        let view = mapped::view(&state.plan, state.batch_norm, |mapper| shown.map_params(mapper))?;
        let stood = |(path, generator): (String, Generator)| {
            state.dropouts.state(&path).map(|state| (generator, state))
        };
        Ok(Self {
            sets,
            whole,
            view,
            plan: state.plan.declared_as(&net.base),
            base: state.base_plan.declared_as(&net.base),
            batch_norm: state.batch_norm,
            why: state.why.clone(),
            frozen_state: state.frozen_state,
            dropouts: generators.into_iter().filter_map(stood).collect(),
        })
    }

    /// Sets the variables and installs the new view. Shape, type and device agree, and a variable
    /// is always contiguous, so it can fail only if a device fails.
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
        net.why = self.why;
        net.frozen_state = self.frozen_state;
        net.revision = Revision::next();
        self.dropouts.into_iter().for_each(|(generator, state)| generator.set_state(state));
        Ok(())
    }
}

/// The model with its plain tensors replaced, because they cannot be set; variables stay.
fn with_plain<M: Freezable>(whole: &M, fresh: &HashMap<TensorId, Tensor>) -> Result<M> {
    let mut replace =
        |_: At<'_>, tensor: &Tensor| Ok(fresh.get(&tensor.id()).unwrap_or(tensor).clone());
    whole.map_params(&mut Mapper::new(&mut replace, &[], BatchNormPolicy::AsCaller))
}
