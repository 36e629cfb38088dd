//! Evaluates the loss through new views and restores everything that it changes.

use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId};

use super::graph::Graph;
use super::trial::Trial;
use crate::bits::bits;
use crate::error::Result;
use crate::kernel::bytes_of;
use crate::model::{BatchNormPolicy, Freezable, Freezer, Leaf};
use crate::nn::record::{Call, Detail, record};
use crate::plan::FreezePlan;

/// Evaluates `loss` on views of the whole model.
pub(crate) struct Prober<'a, M, F> {
    trial: Trial<'a, M>,
    pub(super) policy: BatchNormPolicy,
    loss: F,
}

/// A forward and a backward pass.
pub(crate) struct Step {
    /// The view's leaves; frozen ones hold different tensors from the model's.
    pub(super) leaves: Vec<Leaf>,
    pub(super) calls: Vec<Call>,
    pub(super) value: Value,
    grads: GradStore,
    pub(super) graph: Graph,
    /// The shapes and bytes of gradients that were computed for untracked operands.
    pub(super) unread: Vec<(Vec<usize>, usize)>,
}

/// The bits of a loss, to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value(Vec<u64>);

impl<'a, M, F> Prober<'a, M, F>
where
    M: Freezable,
    F: Fn(&mut M) -> candle_core::Result<Tensor>,
{
    pub(crate) fn new(freezer: &'a Freezer<M>, loss: F) -> Result<Self> {
        Ok(Self { trial: Trial::new(freezer)?, policy: freezer.batch_norm(), loss })
    }

    /// The loss under `plan`.
    pub(super) fn value(&self, plan: &FreezePlan) -> Result<Value> {
        let (_, loss, _) = self.forward(plan, self.policy)?;
        Value::of(&loss)
    }

    /// The loss under `plan` and its gradients.
    pub(super) fn step(&self, plan: &FreezePlan, policy: BatchNormPolicy) -> Result<Step> {
        let (leaves, loss, calls) = self.forward(plan, policy)?;
        let grads = loss.backward()?;
        let graph = Graph::of(&loss);
        let unread = grads.get_ids().filter(|id| !graph.ids.contains(id));
        let unread = unread
            .filter_map(|id| grads.get_id(*id))
            .map(|grad| (grad.dims().to_vec(), bytes_of(grad)));
        let (value, unread) = (Value::of(&loss)?, unread.collect());
        Ok(Step { leaves, calls, value, grads, graph, unread })
    }

    /// The loss under `plan` and its graph.
    pub(super) fn graph(
        &self,
        plan: &FreezePlan,
        policy: BatchNormPolicy,
    ) -> Result<(Value, Graph)> {
        let (_, loss, _) = self.forward(plan, policy)?;
        Ok((Value::of(&loss)?, Graph::of(&loss)))
    }

    fn forward(
        &self,
        plan: &FreezePlan,
        policy: BatchNormPolicy,
    ) -> Result<(Vec<Leaf>, Tensor, Vec<Call>)> {
        let run = |view: &mut M| record(Detail::Uses, || (self.loss)(view));
        let (leaves, (loss, calls)) = self.through(plan, policy, run)?;
        Ok((leaves, loss?, calls))
    }

    /// Runs `run` on a new view, returns its leaves with the result, and restores statistics and
    /// generators.
    pub(crate) fn through<R>(
        &self,
        plan: &FreezePlan,
        policy: BatchNormPolicy,
        run: impl FnOnce(&mut M) -> R,
    ) -> Result<(Vec<Leaf>, R)> {
        self.trial.through(plan, policy, run)
    }

    /// The loss of a view.
    pub(crate) fn loss(&self, view: &mut M) -> candle_core::Result<Tensor> {
        (self.loss)(view)
    }

    /// Restores the running statistics; an error if that fails.
    pub(crate) fn finish(self) -> Result<()> {
        self.trial.finish()
    }
}

impl Step {
    pub(super) fn has_gradient(&self, id: TensorId) -> bool {
        self.grads.get_id(id).is_some()
    }
}

impl Value {
    pub(super) fn of(loss: &Tensor) -> Result<Self> {
        Ok(Self(bits(loss)?))
    }

    pub(super) fn is_finite(&self) -> bool {
        self.0.iter().all(|bits| f64::from_bits(*bits).is_finite())
    }
}
