//! Variables that the loss uses without the model, found in the graph of a model in which
//! everything is frozen.

use candle_core::TensorId;
use std::collections::HashSet;

use super::Finding;
use super::graph::Graph;
use crate::model::{Leaf, Role};

/// A finding of the variables in `graph` that do not belong to the model, if there are any.
pub(super) fn outside(graph: &Graph, leaves: &[Leaf]) -> Option<Finding> {
    let params = leaves.iter().flat_map(|leaf| &leaf.params);
    let inside: HashSet<TensorId> = params.map(|param| param.id).collect();
    let strangers = graph.variables.iter().filter(|var| !inside.contains(&var.id()));
    let shapes: Vec<Vec<usize>> = strangers.map(|var| var.dims().to_vec()).collect();
    (!shapes.is_empty()).then_some(Finding::OutsideTheModel { shapes })
}

/// A finding of the model's variables in `graph` that are `frozen` in the view that was passed, by
/// name.
pub(super) fn past(
    graph: &Graph,
    leaves: &[Leaf],
    frozen: impl Fn(TensorId) -> bool,
) -> Option<Finding> {
    let mut met = HashSet::new();
    let params = leaves.iter().flat_map(|leaf| &leaf.params);
    let used = params.filter(|param| param.role == Role::Weight && param.trainable);
    let used = used.filter(|param| graph.order.contains_key(&param.id) && frozen(param.id));
    let names: Vec<String> =
        used.filter(|param| met.insert(param.id)).map(|param| param.full_name.clone()).collect();
    (!names.is_empty()).then_some(Finding::PastTheModel { names })
}
