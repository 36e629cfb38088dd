//! What a run knows of the graphs of its losses.

use std::collections::HashSet;

use candle_core::{Tensor, TensorId};

use super::training::Training;
use crate::error::Result;
use crate::kernel::StorageId;
use crate::model::Freezable;
use crate::nn::survey;

/// Which gradients are complete within the backward.
#[derive(Debug, Default)]
pub(super) struct Graphs {
    /// Which leaves were frozen when graphs were analysed.
    frozen: Vec<bool>,
    /// The variables whose gradients were analysed.
    known: HashSet<TensorId>,
    /// Those of them whose gradients come from operations of ours alone.
    ready: HashSet<TensorId>,
}

/// The state of a run that updates within the backward.
#[derive(Debug, Default)]
pub(super) struct InBackward {
    /// Whether a step failed after it had updated some parameters.
    pub(super) torn: bool,
}

impl<M: Freezable> Training<M> {
    /// The variables of a loss whose gradients come from operations of ours alone, and so are complete within the
    /// backward. Finds out by another backward, if the loss has variables that were not analysed yet.
    pub(super) fn ready_in(&mut self, loss: &Tensor) -> Result<HashSet<TensorId>> {
        let state = &mut self.graphs;
        let frozen = self.freezer.plan().states().iter().map(|state| state.is_frozen());
        if !frozen.clone().eq(state.frozen.iter().copied()) {
            *state = Graphs { frozen: frozen.collect(), ..Graphs::default() };
        }
        let nodes = loss.sorted_nodes().into_iter();
        let used: HashSet<TensorId> =
            nodes.filter(|node| node.is_variable()).map(Tensor::id).collect();
        if used.is_subset(&state.known) {
            return Ok(state.ready.clone());
        }
        // A frozen leaf may hold a weight that another leaf trains.
        let model: &M = &self.freezer;
        let frozen = model.named_tensors()?.into_iter().filter(|(_, tensor)| !tensor.is_variable());
        let frozen: HashSet<StorageId> = frozen.map(|(_, tensor)| StorageId::of(&tensor)).collect();
        let apart = self.trained.iter().filter(|(_, var)| !frozen.contains(&StorageId::of(var)));
        let apart: HashSet<TensorId> = apart.map(|(_, var)| var.id()).collect();
        let whole = survey(loss)?;
        let whole: HashSet<&TensorId> = whole.intersection(&apart).collect();
        for id in used {
            match (state.known.insert(id), whole.contains(&id)) {
                (true, true) => drop(state.ready.insert(id)),
                (false, false) => drop(state.ready.remove(&id)),
                _ => {}
            }
        }
        Ok(state.ready.clone())
    }
}
