//! Saves state by name, and loads it.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Device, Tensor};

use super::Fused;
use super::names::names;
use super::rule::UpdateRule;
use super::slot::Slot;
use crate::error::{Error, Result, several};
use crate::kernel::update::{Rows, State};
use crate::plan::{OptimizerState, PlanOptimizer};

/// The prefix of saved step counts: `step/blocks.0.weight`.
const STEP: &str = "step";

/// A saved state, checked and ready to be loaded.
#[derive(Debug)]
pub(super) struct Restored {
    learning_rate: f64,
    /// State and number of updates, one for each slot.
    slots: Vec<(Option<State>, u64)>,
}

impl<R: UpdateRule> Fused<R> {
    /// The state as named tensors: `first_moment/NAME` and the like in the shape of the parameter,
    /// `master/NAME` where there are [`MasterWeights`](super::MasterWeights), and `step/NAME`, a
    /// single `i64`, for every parameter. The tensors are copies, which later steps do not change.
    ///
    /// # Errors
    ///
    /// The optimizer was never given names, or two variables have the same name.
    pub fn state_tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let OptimizerState { mut tensors, steps, .. } = saved(self, &names(self, &[])?)?;
        for (name, steps) in steps {
            let steps = Tensor::new(i64::try_from(steps).unwrap_or(i64::MAX), &Device::Cpu)?;
            tensors.insert(format!("{STEP}/{name}"), steps);
        }
        Ok(tensors)
    }

    /// Loads what [`state_tensors`](Self::state_tensors) returned, all of it or nothing; the
    /// learning rate does not change.
    ///
    /// # Errors
    ///
    /// Unknown or missing names or wrong shapes: all of them are listed.
    pub fn load_state_tensors(&mut self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let learning_rate = candle_nn::Optimizer::learning_rate(self);
        let mut state =
            OptimizerState { kind: R::KIND.to_string(), learning_rate, ..Default::default() };
        let mut faults = Vec::new();
        for (name, tensor) in tensors {
            let Some(param) = name.strip_prefix(STEP).and_then(|rest| rest.strip_prefix('/'))
            else {
                state.tensors.insert(name.clone(), tensor.clone());
                continue;
            };
            match tensor.to_scalar::<i64>().map(u64::try_from) {
                Ok(Ok(steps)) => drop(state.steps.insert(param.to_string(), steps)),
                _ => faults.push(format!("`{name}` is not one `i64` of at least 0")),
            }
        }
        if !faults.is_empty() {
            return Err(Error::OptimizerState { optimizer: R::KIND, why: several(faults, ", ") });
        }
        self.prepare_state(&state, &[])?.commit();
        Ok(())
    }
}

impl Restored {
    pub(super) fn take_up<R: UpdateRule>(self, optimizer: &mut Fused<R>) {
        optimizer.rule.set_lr(self.learning_rate);
        for (slot, (state, steps)) in optimizer.slots.iter_mut().zip(self.slots) {
            slot.state = state;
            slot.steps = steps;
        }
    }
}

/// The state under `names`, one for each slot.
pub(super) fn saved<R: UpdateRule>(
    optimizer: &Fused<R>,
    names: &[String],
) -> Result<OptimizerState> {
    let mut saved = OptimizerState {
        kind: R::KIND.to_string(),
        learning_rate: optimizer.rule.lr(),
        ..Default::default()
    };
    for (slot, name) in optimizer.slots.iter().zip(names) {
        saved.steps.insert(name.clone(), slot.steps);
        if slot.steps == 0 {
            continue;
        }
        let moments = optimizer.rule.moments();
        let rows = slot.rows(moments.len(), optimizer.masters);
        // Rows that were switched on after the last update are saved as the next update would start
        // them.
        let fresh = match &slot.state {
            Some(state) if state.rows == rows => None,
            _ => slot.state_of(rows)?,
        };
        let Some(state) = fresh.as_ref().or(slot.state.as_ref()) else { continue };
        for (i, row) in rows.names(moments).into_iter().enumerate() {
            let tensor = state.tensor.narrow(0, i, 1)?.force_contiguous()?;
            saved.tensors.insert(format!("{row}/{name}"), tensor.reshape(slot.var.shape())?);
        }
    }
    Ok(saved)
}

/// Checks a saved state against the optimizer, whose slots have `names`, and builds the new state: in host memory
/// where it is offloaded already, or is `to_host`.
pub(super) fn restore<R: UpdateRule>(
    optimizer: &Fused<R>,
    names: &[String],
    saved: &OptimizerState,
    to_host: impl Fn(&Slot) -> bool,
) -> Result<Restored> {
    let fault = |why: String| Error::OptimizerState { optimizer: R::KIND, why };
    if saved.kind != R::KIND {
        return Err(fault(format!("it was saved by {}", saved.kind)));
    }
    super::rule::check_lr(saved.learning_rate)?;
    let moments = optimizer.rule.moments();
    let mut faults = Vec::new();
    let mut known = BTreeSet::new();
    let mut slots = Vec::with_capacity(optimizer.slots.len());
    for (slot, name) in optimizer.slots.iter().zip(names) {
        known.insert(name.clone());
        let Some(&steps) = saved.steps.get(name) else {
            faults.push(format!("`{STEP}/{name}` is missing"));
            continue;
        };
        let layout = slot.rows(moments.len(), optimizer.masters);
        let layout = if steps > 0 { layout } else { Rows::default() };
        let mut rows = Vec::new();
        for row in layout.names(moments) {
            let row = format!("{row}/{name}");
            match saved.tensors.get(&row) {
                Some(tensor) => {
                    faults.extend(misfit(&row, tensor, slot));
                    rows.push(tensor);
                }
                None => faults.push(format!("`{row}` is missing")),
            }
            known.insert(row);
        }
        slots.push((layout, rows, steps));
    }
    let names = saved.steps.keys().chain(saved.tensors.keys());
    let unknown = names.filter(|name| !known.contains(*name));
    faults.extend(unknown.map(|name| format!("`{name}` is unknown")));
    if !faults.is_empty() {
        let masters = faults.iter().any(|fault| fault.starts_with("`master/"));
        let hint = if masters { "; see `set_master_weights`" } else { "" };
        return Err(fault(format!("{}{hint}", several(faults, ", "))));
    }
    let built = optimizer.slots.iter().zip(slots);
    let offloaded =
        |slot: &Slot| slot.state.as_ref().is_some_and(|state| state.tensor.device().is_cpu());
    let slots = built.map(|(slot, (layout, rows, steps))| {
        let tensor = stacked(&rows, layout, slot, offloaded(slot) || to_host(slot))?;
        Ok((tensor.map(|tensor| State { tensor, rows: layout }), steps))
    });
    Ok(Restored { learning_rate: saved.learning_rate, slots: slots.collect::<Result<_>>()? })
}

fn misfit(name: &str, row: &Tensor, slot: &Slot) -> Option<String> {
    let (theirs, ours) = ((row.dims(), row.dtype()), (slot.var.dims(), slot.acc()));
    (theirs != ours).then(|| format!("`{name}` is {theirs:?}, expected {ours:?}"))
}

/// The rows as one new tensor, on the host or on the device of the variable.
fn stacked(rows: &[&Tensor], layout: Rows, slot: &Slot, to_host: bool) -> Result<Option<Tensor>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let rows = rows.iter().map(|row| row.flatten_all()).collect::<candle_core::Result<Vec<_>>>()?;
    let rows = Tensor::stack(&rows, 0)?.detach();
    if to_host && !slot.var.device().is_cpu() {
        return Ok(Some(rows.to_device(&Device::Cpu)?.force_contiguous()?));
    }
    let state = slot.zeros(layout)?;
    if slot.var.elem_count() > 0 {
        state.slice_set(&rows.to_device(slot.var.device())?, 0, 0)?;
    }
    Ok(Some(state))
}
