//! Finds the order of the data flow, and which leaves have a tracked input, by experiment.

use std::collections::HashMap;

use candle_core::{Tensor, TensorId, Var};

use super::probe::{Prober, Step};
use super::{FrozenWork, weights};
use crate::error::Result;
use crate::kernel::StorageId;
use crate::model::{BatchNormPolicy, Freezable, Leaf};
use crate::plan::{FreezePlan, LeafState};

pub(super) struct Flow<'a, M, F> {
    prober: &'a Prober<'a, M, F>,
    plan: &'a FreezePlan,
    step: &'a Step,
    leaves: &'a [Leaf],
    vars: &'a HashMap<TensorId, Var>,
    /// When each leaf's first variable is used with everything trained; `None` if no gradient
    /// reaches the leaf or it cannot train.
    first_use: Vec<Option<usize>>,
}

impl<'a, M, F> Flow<'a, M, F>
where
    M: Freezable,
    F: Fn(&mut M) -> candle_core::Result<Tensor>,
{
    pub(super) fn new(
        prober: &'a Prober<'a, M, F>,
        plan: &'a FreezePlan,
        step: &'a Step,
        leaves: &'a [Leaf],
        vars: &'a HashMap<TensorId, Var>,
    ) -> Result<Self> {
        let first_use = |step: &Step| {
            let first =
                |leaf| weights(leaf).filter_map(|id| step.graph.order.get(&id)).min().copied();
            leaves.iter().map(first).collect()
        };
        let first_use = match plan.frozen_leaves() {
            0 => first_use(step),
            _ => {
                let all = plan.all(LeafState::TRAINED);
                first_use(&prober.step(&all, BatchNormPolicy::AsCaller)?)
            }
        };
        Ok(Self { prober, plan, step, leaves, vars, first_use })
    }

    /// The backward work that the frozen leaf at `index` costs.
    pub(super) fn frozen_work(&self, index: usize) -> Result<FrozenWork> {
        let Some(own) = self.first_use[index] else { return Ok(FrozenWork::None) };
        let trained = self.plan.states().iter().zip(&self.first_use);
        let below = |(state, used): (&LeafState, &Option<usize>)| {
            !state.is_frozen() && used.is_some_and(|used| used < own)
        };
        match trained.into_iter().any(below) {
            true => self.work(self.plan, self.step, self.prober.policy, index),
            false => Ok(FrozenWork::None),
        }
    }

    /// The leaves that are declared after the one at `index` and used before it, if its input passes
    /// through any of them.
    pub(super) fn runs_behind(&self, index: usize) -> Result<Vec<usize>> {
        let Some(own) = self.first_use[index] else { return Ok(Vec::new()) };
        let after = index + 1..self.first_use.len();
        let earlier: Vec<usize> =
            after.filter(|&i| self.first_use[i].is_some_and(|used| used < own)).collect();
        if earlier.is_empty() {
            return Ok(earlier);
        }
        let mut plan = self.plan.clone();
        for i in 0..plan.len() {
            let state = if earlier.contains(&i) { LeafState::TRAINED } else { LeafState::Frozen };
            plan.set(i, state)?;
        }
        let step = self.prober.step(&plan, BatchNormPolicy::AsCaller)?;
        match self.work(&plan, &step, BatchNormPolicy::AsCaller, index)? {
            FrozenWork::None => Ok(Vec::new()),
            _ => Ok(earlier),
        }
    }

    /// The backward work of `step` for the leaf at `index`, which is frozen under `plan`.
    ///
    /// candle computes a gradient for every operand of an operation with a tracked one, and leaves
    /// those of untracked operands in its store. If the leaf's input is already tracked, training
    /// the leaf adds only its parameters to the graph, and the gradients left in the store for them
    /// are then used.
    fn work(
        &self,
        plan: &FreezePlan,
        step: &Step,
        policy: BatchNormPolicy,
        index: usize,
    ) -> Result<FrozenWork> {
        if !step.unread.is_empty() {
            let mut trained = plan.clone();
            trained.set(index, LeafState::TRAINED)?;
            let trained = self.prober.step(&trained, policy)?;
            let own: Vec<StorageId> = weights(&self.leaves[index])
                .filter_map(|id| self.vars.get(&id))
                .map(|var| StorageId::of(var))
                .collect();
            let rest = trained.graph.storages.iter().filter(|storage| !own.contains(storage));
            if rest.count() > step.graph.storages.len() {
                return Ok(FrozenWork::None);
            }
            match left_over(&step.unread, trained.unread) {
                0 => {}
                bytes => return Ok(FrozenWork::Whole { bytes }),
            }
        }
        let own: Vec<_> = weights(&step.leaves[index]).collect();
        let mut calls = step.calls.iter().filter(|call| call.input_tracked);
        match calls.any(|call| call.operands.iter().any(|id| own.contains(id))) {
            true => Ok(FrozenWork::Input),
            false => Ok(FrozenWork::None),
        }
    }
}

/// The bytes of the gradients in `all` that are not in `rest`.
fn left_over(all: &[(Vec<usize>, usize)], mut rest: Vec<(Vec<usize>, usize)>) -> usize {
    let mut bytes = 0;
    for grad in all {
        match rest.iter().position(|other| other == grad) {
            Some(position) => drop(rest.swap_remove(position)),
            None => bytes += grad.1,
        }
    }
    bytes
}
