//! Which gradients of a loss are complete within its backward.

use std::collections::HashSet;

use candle_core::{Tensor, TensorId};

use super::seen::Graphs;
use super::training::Training;
use crate::error::Result;
use crate::kernel::StorageId;
use crate::model::Freezable;
use crate::nn::ops::released::check_retained;
use crate::nn::survey;

impl<M: Freezable> Training<M> {
    /// The variables of a loss whose gradients come from operations of ours alone, and so are complete within the
    /// backward. Finds out by another backward, if the loss has variables that were not analysed yet.
    pub(super) fn ready_in(&mut self, loss: &Tensor) -> Result<HashSet<TensorId>> {
        check_retained(loss)?;
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
