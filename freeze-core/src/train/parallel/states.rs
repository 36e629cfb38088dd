//! Optimizer state of which each rank keeps a share.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::model::Freezable;
use crate::plan::{OptimizerState, Prepared};
use crate::train::Training;

/// The steps of a rank's own variables, and its tensors by optimizer and name.
type Kept = (Vec<BTreeMap<String, u64>>, HashMap<String, Tensor>);

/// The name in that file of what optimizer `index` keeps.
fn key(index: usize, row: &str) -> String {
    format!("{index}/{row}")
}

impl<M: Freezable> Training<M> {
    /// Hands the states of all ranks to rank 0, which saves them.
    pub(super) fn gather_states(&mut self) -> Result<()> {
        let Some(group) = self.group().cloned() else { return Ok(()) };
        let own = self.own_states();
        let all = group.gather("the optimizer state", own)?;
        if !group.leads() {
            return Ok(());
        }
        let all: Vec<Kept> = all.iter().map(|bytes| read(bytes)).collect::<Result<_>>()?;
        let planned = self.freezer.planned_vars();
        for (index, driven) in self.optimizers.iter_mut().enumerate() {
            let mut whole = driven.as_plan().save_state_as(&planned)?;
            for (steps, tensors) in all.iter().skip(1) {
                whole.steps.extend(steps.get(index).cloned().unwrap_or_default());
                let prefix = key(index, "");
                whole.tensors.extend(tensors.iter().filter_map(|(name, tensor)| {
                    Some((name.strip_prefix(&prefix)?.to_string(), tensor.clone()))
                }));
            }
            driven.set_whole(Some(whole));
        }
        Ok(())
    }

    /// Forgets what [`gather_states`](Self::gather_states) gathered.
    pub(super) fn let_go_of_states(&mut self) {
        self.optimizers.iter_mut().for_each(|driven| driven.set_whole(None));
    }

    /// The states of this rank's own variables: the steps, a zero, and a safetensors file.
    fn own_states(&mut self) -> Result<Vec<u8>> {
        let (mut all_steps, mut all) = (Vec::new(), HashMap::new());
        for (index, state) in self.states_of_own()?.into_iter().enumerate() {
            let OptimizerState { tensors, mut steps, .. } = state;
            steps.retain(|_, steps| *steps > 0);
            all_steps.push(steps);
            all.extend(tensors.into_iter().map(|(row, tensor)| (key(index, &row), tensor)));
        }
        let mut bytes = serde_json::to_vec(&all_steps).map_err(unreadable)?;
        bytes.push(0);
        bytes.extend(safetensors::serialize(&all, None).map_err(unreadable)?);
        Ok(bytes)
    }

    /// Frees the state of variables that other ranks update.
    pub(super) fn keep_own_states(&mut self) -> Result<()> {
        if !self.shards_state() {
            return Ok(());
        }
        let (planned, states) = (self.freezer.planned_vars(), self.states_of_own()?);
        for (driven, state) in self.optimizers.iter_mut().zip(&states) {
            driven.as_plan().prepare_state(state, &planned).map(Prepared::commit)?;
        }
        Ok(())
    }

    /// The state of each optimizer without that of variables of other ranks.
    fn states_of_own(&mut self) -> Result<Vec<OptimizerState>> {
        let planned = self.freezer.planned_vars();
        let Some(ranks) = &self.ranks else { return Ok(Vec::new()) };
        let (rank, owners) = (ranks.group.rank(), ranks.owners.as_ref());
        let foreign: Vec<&str> = planned
            .iter()
            .filter(|planned| {
                owners.and_then(|owners| owners.get(&planned.var.id())) != Some(&rank)
            })
            .map(|planned| &*planned.name)
            .collect();
        let mut states = Vec::new();
        for driven in &mut self.optimizers {
            let mut state = driven.as_plan().save_state_as(&planned)?;
            for name in &foreign {
                if let Some(steps) = state.steps.get_mut(*name) {
                    *steps = 0;
                }
            }
            let is_foreign =
                |row: &String| row.split_once('/').is_some_and(|(_, name)| foreign.contains(&name));
            state.tensors.retain(|row, _| !is_foreign(row));
            states.push(state);
        }
        Ok(states)
    }
}

fn read(bytes: &[u8]) -> Result<Kept> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let steps = serde_json::from_slice(&bytes[..end]).map_err(unreadable)?;
    let tensors = bytes.get(end + 1..).unwrap_or_default();
    Ok((steps, candle_core::safetensors::load_buffer(tensors, &Device::Cpu)?))
}

fn unreadable(error: impl Display) -> Error {
    Error::training(format!("the optimizer state of a rank: {error}"))
}
