//! Whether the loss, or the way to it, is random: found by evaluating it again.

use std::collections::HashSet;

use candle_core::{Tensor, TensorId};

use super::probe::{Prober, Step};
use crate::error::Result;
use crate::model::Freezable;
use crate::plan::FreezePlan;

/// How often, if no gradient is missing.
const ALWAYS: usize = 2;
/// How often, if one is: a layer that is left out nine times in ten is met in four audits of five.
const IN_DOUBT: usize = 16;

/// How equal evaluations differed.
#[derive(Default)]
pub(super) struct Repeats {
    /// The loss did.
    pub(super) value_differs: bool,
    /// The variables that the loss was computed from did, or the number of operations.
    pub(super) graph_differs: bool,
    /// The variables that a gradient would have reached in any of them.
    pub(super) reached: HashSet<TensorId>,
}

impl Repeats {
    pub(super) fn new<M, F>(
        prober: &Prober<'_, M, F>,
        plan: &FreezePlan,
        step: &Step,
        in_doubt: bool,
    ) -> Result<Self>
    where
        M: Freezable,
        F: Fn(&mut M) -> candle_core::Result<Tensor>,
    {
        let mut found = Self::default();
        for _ in 0..if in_doubt { IN_DOUBT } else { ALWAYS } {
            let (value, graph) = prober.graph(plan, prober.policy)?;
            found.value_differs |= value != step.value;
            found.graph_differs |= !graph.is_like(&step.graph);
            found.reached.extend(graph.order.into_keys());
        }
        Ok(found)
    }
}
