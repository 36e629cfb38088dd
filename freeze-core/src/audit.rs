//! Who was meant to train and got no gradient, and why.
//!
//! candle hides its graph: an operation without a backward (its fused layer norm, RMS norm, softmax)
//! cuts off everything below it in silence. An [`audit`] evaluates the loss as training does, looks
//! where gradients arrived, and finds the cause by trying: a leaf without a gradient is nudged, and
//! either the loss moves, so it was cut off, or it does not, so it is not used.

mod cause;
mod finding;
mod flow;
pub(crate) mod probe;
mod render;

use std::collections::HashMap;

use candle_core::{Tensor, TensorId, Var};

use crate::{Error, Freezable, FreezePlan, Freezer, Leaf, LeafState, Result, Role};
use cause::Missing;
pub use finding::Finding;
use flow::Flow;
use probe::Prober;

/// What an audit found, leaf by leaf. Prints as a table with the findings below it.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    leaves: Vec<AuditedLeaf>,
    has_variables: bool,
}

/// What an audit found of one leaf.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AuditedLeaf {
    /// Counted from the front of the model.
    pub index: usize,
    /// Field names and indices joined by dots.
    pub path: String,
    /// The layer's type name.
    pub kind: &'static str,
    /// What the plan means it to do, and what came of it.
    pub outcome: Outcome,
    /// The names within the leaf of the trained parameters that got no gradient, such as `bias`.
    pub missing: Vec<String>,
    /// Whether no parameter of the leaf got a gradient.
    pub all_missing: bool,
    /// The paths of leaves that are declared after this one although its input passes through them;
    /// where the model branches, leaves of other branches may be among them.
    pub runs_behind: Vec<String>,
}

/// What became of a leaf in the audited step.
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
}

/// Why no gradient arrived.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// The loss depends on the leaf, but an operation between the two has no backward.
    Cut(CutAt),
    /// The loss stays as it is whatever the leaf holds: it is not used, or not on the way to the
    /// loss.
    Unused,
    /// The loss differs between two equal evaluations, so that nothing can be told from it.
    RandomLoss,
    /// The loss is infinite or NaN.
    NonFiniteLoss,
}

/// Where gradients are cut off.
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
    /// At or above the leaf, by an operation that belongs to no leaf, such as a softmax.
    AtOrAbove,
}

/// The backward work that a frozen leaf still costs because something below it trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrozenWork {
    /// None.
    None,
    /// The gradient of its input alone, which what lies below it needs: a layer of
    /// [`nn`](crate::nn).
    Input,
    /// Also gradients of its own, which nobody reads: a layer of candle-nn.
    Whole {
        /// The bytes of those gradients.
        bytes: usize,
    },
}

/// Audits the model under the plan in force: `loss` computes, from the model it is given, the loss of
/// a batch as a training step does.
///
/// It is called once, once more for the data flow, and again for each leaf in doubt: twice or thrice
/// for one that got no gradient, once or twice for one that is frozen above a trained one or declared
/// out of order. Variables, running statistics and the generators of [`nn::Dropout`](crate::nn::Dropout)
/// are put back bit by bit, also when `loss` fails or panics; what else it changes stays changed.
///
/// The data flow is taken from [`Tensor::sorted_nodes`] with all leaves trained: the order in which
/// their variables are first used, the first operand of an operation before the others. Only a leaf
/// that comes late in it is tried on its own: is its input tracked while nothing but what is declared
/// after it trains?
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::{LayerNorm, Linear, VarBuilder, VarMap, layer_norm, linear};
/// use freeze_core::{Freezable, Freezer, audit::audit};
///
/// #[derive(Freezable)]
/// struct Net {
///     body: Linear,
///     norm: LayerNorm, // candle's: no backward
///     head: Linear,
/// }
///
/// let map = VarMap::new();
/// let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
/// let (body, head) = (linear(4, 4, vb.pp("body"))?, linear(4, 2, vb.pp("head"))?);
/// let net = Freezer::new(Net { body, norm: layer_norm(4, 1e-5, vb.pp("norm"))?, head })?;
/// let x = Tensor::randn(0f32, 1., (3, 4), &Device::Cpu)?;
/// let audit = audit(&net, |net| {
///     net.head.forward(&net.norm.forward(&net.body.forward(&x)?)?)?.sqr()?.mean_all()
/// })?;
/// let error = audit.ensure_clean().unwrap_err().to_string();
/// assert!(error.contains("no gradient reaches `body`, `norm`"));
/// assert!(error.contains("cut off at `norm`"));
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// # Errors
///
/// `loss` failed, or its backward did.
pub fn audit<M: Freezable>(
    freezer: &Freezer<M>,
    loss: impl Fn(&M) -> candle_core::Result<Tensor>,
) -> Result<Audit> {
    audit_mut(freezer, |model| loss(model))
}

/// As [`audit`] for models whose forward takes `&mut self`.
///
/// # Errors
///
/// As [`audit`].
pub fn audit_mut<M: Freezable>(
    freezer: &Freezer<M>,
    loss: impl Fn(&mut M) -> candle_core::Result<Tensor>,
) -> Result<Audit> {
    let (plan, leaves) = (freezer.plan(), freezer.leaves()?);
    let mut audited: Vec<AuditedLeaf> = leaves.iter().map(|leaf| start(leaf, plan)).collect();
    let vars: HashMap<TensorId, Var> =
        freezer.vars().into_iter().map(|var| (var.id(), var)).collect();
    if vars.is_empty() {
        return Ok(Audit { leaves: audited, has_variables: false });
    }
    let prober = Prober::new(freezer, loss)?;
    let step = prober.step(plan, freezer.batch_norm())?;
    for (leaf, audited) in leaves.iter().zip(&mut audited) {
        if audited.outcome == Outcome::Trained {
            let trained = leaf.params.iter().filter(|param| param.trainable);
            let (with, without): (Vec<_>, Vec<_>) =
                trained.partition(|param| step.has_gradient(param.id));
            audited.all_missing = with.is_empty() && !without.is_empty();
            audited.missing = without.into_iter().map(|param| param.name.clone()).collect();
        }
    }
    for (index, cause) in
        (Missing { prober: &prober, plan, step: &step, vars: &vars }).causes(&leaves, &audited)?
    {
        audited[index].outcome = Outcome::Missing(cause);
    }
    let flow = Flow::new(&prober, plan, &step, &leaves, &vars)?;
    for leaf in &mut audited {
        if let Outcome::Frozen(work) = &mut leaf.outcome {
            *work = flow.frozen_work(leaf.index)?;
        }
        let behind = flow.runs_behind(leaf.index)?;
        leaf.runs_behind = behind.into_iter().map(|i| leaves[i].path.clone()).collect();
    }
    prober.finish()?;
    Ok(Audit { leaves: audited, has_variables: true })
}

fn start(leaf: &Leaf, plan: &FreezePlan) -> AuditedLeaf {
    let outcome = match plan.state(leaf.index) {
        Some(LeafState::Frozen) => Outcome::Frozen(FrozenWork::None),
        _ if leaf.is_trainable() => Outcome::Trained,
        _ => Outcome::NoVariables,
    };
    AuditedLeaf {
        index: leaf.index,
        path: leaf.path.clone(),
        kind: leaf.kind,
        outcome,
        missing: Vec::new(),
        all_missing: false,
        runs_behind: Vec::new(),
    }
}

impl Audit {
    /// Every leaf in order.
    pub fn leaves(&self) -> &[AuditedLeaf] {
        &self.leaves
    }

    /// The leaf at `path`.
    pub fn leaf(&self, path: &str) -> Option<&AuditedLeaf> {
        self.leaves.iter().find(|leaf| leaf.path == path)
    }

    /// Whether any parameter of the model is a variable.
    pub fn has_variables(&self) -> bool {
        self.has_variables
    }

    /// Nothing, if all that was meant to train got gradients and the leaves are declared in the order
    /// of the data flow. Work that frozen leaves cost is shown, but no fault.
    ///
    /// # Errors
    ///
    /// Every fault, with the leaves it concerns.
    pub fn ensure_clean(&self) -> Result<()> {
        let faults = self.findings().into_iter().filter(Finding::is_fault);
        let faults: Vec<String> = faults.map(|fault| fault.to_string()).collect();
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Error::Audit { faults: faults.join("; ") }),
        }
    }

    /// One warning for each finding.
    pub(crate) fn trace(&self) {
        for finding in self.findings() {
            tracing::warn!(fault = finding.is_fault(), "{finding}");
        }
    }
}

/// The parameters that gradients could train.
fn weights(leaf: &Leaf) -> impl Iterator<Item = TensorId> {
    leaf.params.iter().filter(|param| param.role == Role::Weight).map(|param| param.id)
}
