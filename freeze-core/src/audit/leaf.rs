//! The audit's result for one leaf.

use candle_core::TensorId;

use crate::model::{Leaf, Role};
use crate::plan::{FreezePlan, LeafState};

/// What an audit found about one leaf.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AuditedLeaf {
    /// The index from the front of the model, starting at 0.
    pub index: usize,
    /// Field names and indices joined by dots.
    pub path: String,
    /// The layer's type name.
    pub kind: &'static str,
    /// Its state in the plan, and what happened in the step.
    pub outcome: Outcome,
    /// The names within the leaf of the trained parameters that got no gradient, such as `bias`.
    pub missing: Vec<String>,
    /// The names within the leaf of the parameters that are plain tensors, which cannot be trained.
    pub plain: Vec<String>,
    /// Whether no parameter of the leaf got a gradient.
    pub all_missing: bool,
    /// The paths of leaves that are declared after this one although its input passes through them;
    /// if the model branches, leaves of other branches may be included.
    pub runs_behind: Vec<String>,
}

/// What happened to a leaf in the audited step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The plan trains it, and every parameter got a gradient.
    Trained,
    /// The plan trains it, and a parameter got no gradient.
    Missing(Cause),
    /// The plan freezes it.
    Frozen(FrozenWork),
    /// The plan trains it, but none of its parameters is a variable.
    NoVariables,
    /// The plan trains it, but it has no parameters, such as a batch norm without weights.
    NoParameters,
}

/// Why a leaf got no gradient.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// The loss depends on the leaf, but an operation between the two has no backward.
    Cut(CutAt),
    /// The loss does not depend on the leaf: it is not used, or its output does not reach the loss.
    Unused,
    /// The loss differs between two evaluations on the same input, so the cause cannot be found.
    RandomLoss,
    /// The loss is infinite or NaN.
    NonFiniteLoss,
    /// Gradients arrive in some evaluations and not in others, as with stochastic depth. This is no
    /// fault.
    AtTimes,
    /// Not investigated, because only one step was checked.
    NotTried,
}

/// The place where gradients are cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutAt {
    /// Most likely at this leaf: the first one declared at or after those cut off whose operation is
    /// known to have no backward.
    Leaf {
        /// The leaf's path.
        path: String,
        /// Its type name.
        kind: &'static str,
    },
    /// At or after the leaf, by an operation that belongs to no leaf, such as a softmax.
    AtOrAbove,
}

/// The backward work that a frozen leaf still costs because something below it trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrozenWork {
    /// None.
    None,
    /// Only the gradient of its input, which the trained leaves before it need: a layer of
    /// [`nn`](crate::nn).
    Input,
    /// Also gradients of its own parameters, which nothing reads: a layer of candle-nn.
    Whole {
        /// The bytes of those gradients.
        bytes: usize,
    },
}

impl AuditedLeaf {
    /// The leaf before anything is known of a step.
    pub(super) fn start(leaf: &Leaf, plan: &FreezePlan) -> Self {
        let params = leaf.params.iter().filter(|p| p.role == Role::Weight && p.dtype.is_float());
        let plain = params.clone().filter(|param| !param.trainable);
        let plain: Vec<String> = plain.map(|param| param.name.clone()).collect();
        let outcome = match plan.state(leaf.index) {
            Some(LeafState::Frozen) => Outcome::Frozen(FrozenWork::None),
            _ if leaf.is_trainable() => Outcome::Trained,
            _ if plain.is_empty() => Outcome::NoParameters,
            _ => Outcome::NoVariables,
        };
        Self {
            index: leaf.index,
            path: leaf.path.clone(),
            kind: leaf.kind,
            outcome,
            missing: Vec::new(),
            plain,
            all_missing: false,
            runs_behind: Vec::new(),
        }
    }

    /// Notes which trained parameters have no gradient.
    pub(super) fn mark_missing(&mut self, leaf: &Leaf, has_gradient: impl Fn(TensorId) -> bool) {
        if self.outcome == Outcome::Trained {
            let trained = leaf.params.iter().filter(|param| param.trainable);
            let (with, without): (Vec<_>, Vec<_>) =
                trained.partition(|param| has_gradient(param.id));
            self.all_missing = with.is_empty() && !without.is_empty();
            self.missing = without.into_iter().map(|param| param.name.clone()).collect();
        }
    }

    pub(super) fn names<'a>(&'a self, params: &'a [String]) -> impl Iterator<Item = String> + 'a {
        params.iter().map(|name| crate::model::mapper::join(&self.path, name))
    }
}
