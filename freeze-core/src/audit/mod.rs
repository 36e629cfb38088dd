//! Finds leaves that should train but got no gradient, and why.
//!
//! candle hides its graph: an operation without a backward (its fused layer norm, RMS norm,
//! softmax) silently cuts off everything before it. An [`audit`] evaluates the loss as training
//! does, checks where gradients arrived, and finds the cause by experiment: the values of a leaf
//! without a gradient are changed a little. If the loss changes, the gradient was cut off; if not,
//! the leaf is not used.

mod cause;
mod finding;
mod flow;
mod glance;
mod graph;
mod leaf;
pub(crate) mod probe;
mod render;
mod repeat;
mod strangers;
pub(crate) mod trial;

use std::collections::HashMap;

use candle_core::{Tensor, TensorId, Var};

use crate::error::{Error, Result};
use crate::model::{BatchNormPolicy, Freezable, Freezer, Leaf, Role, Watch};
use crate::plan::{FreezePlan, LeafState};
use cause::Missing;
pub use finding::Finding;
use flow::Flow;
pub use glance::glance;
pub(crate) use glance::glance_at;
pub use leaf::{AuditedLeaf, Cause, CutAt, FrozenWork, Outcome};
use probe::Prober;
use repeat::Repeats;

/// What an audit found, leaf by leaf. Prints as a table with the findings below it.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    leaves: Vec<AuditedLeaf>,
    has_variables: bool,
    /// Findings that do not concern a single leaf.
    general: Vec<Finding>,
}

/// Audits the model under the current plan. `loss` computes the loss of a batch from the model that
/// it is given, as a training step does.
///
/// It is called once with its backward; twice more, or sixteen times if a gradient is missing, to
/// see whether it is random; once with everything frozen and once with everything trained; and once
/// or twice for each leaf in doubt: one that got no gradient, is frozen after a trained one, or is
/// declared out of order. Variables, running statistics and the generators of
/// [`nn::Dropout`](crate::nn::Dropout) (those of the model, and others that this thread draws from)
/// are restored exactly, also when `loss` fails or panics. Anything else that `loss` changes stays
/// changed.
///
/// Where a [`Staged`](crate::Staged) model runs stage by stage, stages that do not run or hand on what they are
/// given are found too, also those without parameters.
///
/// The order of the data flow comes from [`Tensor::sorted_nodes`] with all leaves trained: the
/// order in which their variables are first used, the first operand of an operation before the
/// others. A leaf that is late in this order is tested on its own: is its input tracked when only
/// leaves declared after it train?
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
    let mut audited: Vec<AuditedLeaf> =
        leaves.iter().map(|leaf| AuditedLeaf::start(leaf, plan)).collect();
    let vars: HashMap<TensorId, Var> =
        freezer.vars().into_iter().map(|var| (var.id(), var)).collect();
    if vars.is_empty() {
        return Ok(Audit { leaves: audited, has_variables: false, general: Vec::new() });
    }
    let prober = Prober::new(freezer, loss)?;
    let stages = Watch::start();
    let step = prober.step(plan, freezer.batch_norm())?;
    for (leaf, audited) in leaves.iter().zip(&mut audited) {
        audited.mark_missing(leaf, |id| step.has_gradient(id));
    }
    let in_doubt = audited.iter().any(|leaf| !leaf.missing.is_empty());
    let repeats = Repeats::new(&prober, plan, &step, in_doubt)?;
    let idle = stages.idle::<M>();
    drop(stages);
    let missing = Missing { prober: &prober, plan, step: &step, repeats: &repeats, vars: &vars };
    for (index, cause) in missing.causes(&leaves, &audited)? {
        audited[index].outcome = Outcome::Missing(cause);
    }
    let mut general = past_the_model(&prober, plan, &leaves)?;
    if !step.value.is_finite() {
        general.push(Finding::NonFiniteLoss);
    }
    if !idle.is_empty() {
        general.push(Finding::IdleStages { paths: idle });
    }
    // With a random graph, costs differ between evaluations, so experiments show nothing.
    if repeats.graph_differs {
        general.push(Finding::RandomGraph);
        prober.finish()?;
        return Ok(Audit { leaves: audited, has_variables: true, general });
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
    Ok(Audit { leaves: audited, has_variables: true, general })
}

/// Finds variables in the graph with everything frozen, where there should be none.
fn past_the_model<M, F>(
    prober: &Prober<'_, M, F>,
    plan: &FreezePlan,
    leaves: &[Leaf],
) -> Result<Vec<Finding>>
where
    M: Freezable,
    F: Fn(&mut M) -> candle_core::Result<Tensor>,
{
    let (_, graph) = prober.graph(&plan.all(LeafState::Frozen), BatchNormPolicy::AsCaller)?;
    let past = strangers::past(&graph, leaves, |_| true);
    Ok(past.into_iter().chain(strangers::outside(&graph, leaves)).collect())
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

    /// `Ok` if every parameter that should train got a gradient and the leaves are declared in the
    /// order of the data flow. Backward work for frozen leaves is shown, but is no fault.
    ///
    /// # Errors
    ///
    /// There are faults; all are listed with their leaves.
    pub fn ensure_clean(&self) -> Result<()> {
        let faults = self.findings().into_iter().filter(Finding::is_fault);
        let faults: Vec<String> = faults.map(|fault| fault.to_string()).collect();
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Error::Audit { faults: faults.join("; ") }),
        }
    }
}

/// The leaf's floating-point parameters, without buffers.
fn weights(leaf: &Leaf) -> impl Iterator<Item = TensorId> {
    leaf.params.iter().filter(|param| param.role == Role::Weight).map(|param| param.id)
}
