//! Finds out whether the loss or its graph is random, by evaluating it again.

use std::collections::HashSet;

use candle_core::{Tensor, TensorId};

use super::probe::{Prober, Step};
use crate::error::Result;
use crate::model::Freezable;
use crate::plan::FreezePlan;

/// The number of evaluations if no gradient is missing.
const ALWAYS: usize = 2;
/// The number if one is missing: a layer that is skipped nine times in ten is seen in four audits
/// of five.
const IN_DOUBT: usize = 16;

/// How evaluations on the same input differed.
#[derive(Default)]
pub(super) struct Repeats {
    /// Whether the loss differed.
    pub(super) value_differs: bool,
    /// Whether the variables that the loss was computed from, or the number of operations,
    /// differed.
    pub(super) graph_differs: bool,
    /// The variables that a gradient reached in any of them.
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
