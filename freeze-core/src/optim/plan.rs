//! How the fused optimizers follow a plan: state is dropped, kept or moved to the host, rates are set.

use candle_core::{Device, TensorId};

use super::Fused;
use super::groups::Named;
use super::names::names;
use super::rule::UpdateRule;
use super::share::Share;
use super::slot::Slot;
use super::state::{restore, saved};
use crate::error::Result;
use crate::kernel;
use crate::kernel::update::State;
use crate::plan::{
    GradClip, Measured, Measures, OptimizerState, PlanOptimizer, PlannedVar, Prepared, Released,
    StatePolicy, by_id,
};

/// A prepared plan.
#[derive(Debug)]
struct Ready {
    changes: Vec<Change>,
    /// What the groups set, for each slot; `None` while names are missing.
    shares: Option<Vec<Share>>,
}

#[derive(Debug)]
struct Change {
    slot: usize,
    planned: PlannedVar,
    /// The state in host memory.
    offloaded: Option<State>,
}

impl<R: UpdateRule> PlanOptimizer for Fused<R> {
    fn owned(&mut self) -> Vec<TensorId> {
        self.slots.iter().map(|slot| slot.var.id()).collect()
    }

    fn prepare_plan(&mut self, vars: &[PlannedVar]) -> Result<Prepared<'_, Released>> {
        let ready = self.ready(vars)?;
        Ok(Prepared::new(move || ready.take_up(self)))
    }

    fn clip_within_step(&mut self, clip: GradClip) -> Result<bool> {
        self.set_clip(clip)?;
        Ok(true)
    }

    /// It can if all variables are where there are kernels, on the CPU or on CUDA.
    fn measure_within_step(&mut self, measures: Measures) -> bool {
        let here = self.slots.iter().all(|slot| kernel::on(slot.var.device()));
        self.measures = if here { measures } else { Measures::NONE };
        self.measures == measures
    }

    fn take_measured(&mut self) -> Vec<(TensorId, Measured)> {
        let slots = self.slots.iter_mut();
        slots.filter_map(|slot| Some((slot.var.id(), slot.measured.take()?))).collect()
    }

    fn steps_in_parts(&self) -> bool {
        !matches!(self.clip, GradClip::Norm(_))
    }

    fn keeps_no_gradient(&self) -> bool {
        true
    }

    fn state_bytes(&self) -> Option<usize> {
        Some(self.slots.iter().map(Slot::state_bytes).sum())
    }

    fn kind(&self) -> &'static str {
        R::KIND
    }

    fn save_state(&mut self) -> Result<OptimizerState> {
        self.save_state_as(&[])
    }

    fn save_state_as(&mut self, vars: &[PlannedVar]) -> Result<OptimizerState> {
        saved(self, &names(self, vars)?)
    }

    fn prepare_state(
        &mut self,
        state: &OptimizerState,
        vars: &[PlannedVar],
    ) -> Result<Prepared<'_, ()>> {
        let plan = by_id(vars);
        // What the plan freezes need not fit on the device.
        let to_host = |slot: &Slot| match plan.get(&slot.var.id()) {
            Some(planned) if planned.state.is_frozen() => {
                self.of_frozen(planned) == StatePolicy::Offload
            }
            Some(_) => false,
            None => slot.planned.is_frozen() && self.state_policy == StatePolicy::Offload,
        };
        let restored = restore(self, &names(self, vars)?, state, to_host)?;
        let ready = self.ready(vars)?;
        Ok(Prepared::new(move || {
            ready.take_up(self);
            restored.take_up(self);
        }))
    }
}

impl<R: UpdateRule> Fused<R> {
    fn ready(&self, vars: &[PlannedVar]) -> Result<Ready> {
        let mut changes = Vec::new();
        for planned in vars {
            let Some(&slot) = self.index.get(&planned.var.id()) else { continue };
            let offloaded = match self.slots.get(slot) {
                Some(slot) if planned.state.is_frozen() => self.offload(slot, planned)?,
                _ => None,
            };
            changes.push(Change { slot, planned: planned.clone(), offloaded });
        }
        let shares = self.shares_after(&changes)?;
        Ok(Ready { changes, shares })
    }

    /// What becomes of the state of a variable that is frozen.
    fn of_frozen(&self, planned: &PlannedVar) -> StatePolicy {
        planned.frozen_state.unwrap_or(self.state_policy)
    }

    fn offload(&self, slot: &Slot, planned: &PlannedVar) -> Result<Option<State>> {
        match (&slot.state, self.of_frozen(planned)) {
            (Some(state), StatePolicy::Offload) if !state.tensor.device().is_cpu() => {
                let tensor = state.tensor.to_device(&Device::Cpu)?;
                Ok(Some(State { tensor, ..*state }))
            }
            _ => Ok(None),
        }
    }

    /// What the groups set after the changes.
    fn shares_after(&self, changes: &[Change]) -> Result<Option<Vec<Share>>> {
        if self.groups.is_empty() {
            return Ok(None);
        }
        let mut named: Vec<Option<Named<'_>>> = self.slots.iter().map(Named::of).collect();
        for change in changes {
            if let (Some(named), Some(slot)) =
                (named.get_mut(change.slot), self.slots.get(change.slot))
            {
                *named = Some(Named::after(slot, &change.planned));
            }
        }
        match named.into_iter().collect::<Option<Vec<_>>>() {
            Some(named) => Ok(Some(self.groups.shares(&named)?)),
            None => Ok(None),
        }
    }
}

impl Ready {
    fn take_up<R: UpdateRule>(self, optimizer: &mut Fused<R>) -> Released {
        let mut bytes = 0;
        for change in self.changes {
            let (policy, restarts) =
                (optimizer.of_frozen(&change.planned), change.planned.restarts);
            let Some(slot) = optimizer.slots.get_mut(change.slot) else { continue };
            slot.learn(change.planned);
            // Also slots frozen long ago, because the policy may have changed since.
            if slot.planned.is_frozen() {
                bytes += let_go(slot, policy, change.offloaded);
            }
            if restarts {
                bytes += slot.drop_state();
            }
        }
        if let Some(shares) = self.shares {
            optimizer.slots.iter_mut().zip(shares).for_each(|(slot, share)| slot.share = share);
        }
        Released { state_bytes: Some(bytes) }
    }
}

/// Applies the policy to a frozen slot; returns the bytes freed.
fn let_go(slot: &mut Slot, policy: StatePolicy, offloaded: Option<State>) -> usize {
    match (policy, offloaded) {
        (StatePolicy::Drop, _) => slot.drop_state(),
        (StatePolicy::Offload, Some(state)) => {
            let bytes = slot.state_bytes();
            slot.state = Some(state);
            bytes
        }
        (StatePolicy::Keep | StatePolicy::Offload, _) => 0,
    }
}

#[cfg(test)]
mod tests;
