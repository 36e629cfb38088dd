//! The graph that a loss was computed by, as far as candle shows it.

use std::collections::{HashMap, HashSet};

use candle_core::{Tensor, TensorId};

use crate::kernel::StorageId;

pub(crate) struct Graph {
    /// Every variable, in the order of first use.
    pub(super) variables: Vec<Tensor>,
    /// The positions of their first uses.
    pub(super) order: HashMap<TensorId, usize>,
    /// The storages of the nodes' values.
    pub(super) storages: Vec<StorageId>,
    pub(super) ids: HashSet<TensorId>,
}

impl Graph {
    pub(super) fn of(loss: &Tensor) -> Self {
        let mut graph = Self {
            variables: Vec::new(),
            order: HashMap::new(),
            storages: Vec::new(),
            ids: HashSet::from([loss.id()]),
        };
        // The last node is the one that was used first.
        for (place, node) in loss.sorted_nodes().into_iter().rev().enumerate() {
            graph.ids.insert(node.id());
            graph.storages.push(StorageId::of(node));
            if node.is_variable() {
                graph.variables.push(node.clone());
                graph.order.insert(node.id(), place);
            }
        }
        graph
    }

    /// Whether both have the same variables and the same number of operations.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.storages.len() == other.storages.len()
            && self.order.len() == other.order.len()
            && self.order.keys().all(|id| other.order.contains_key(id))
    }
}
