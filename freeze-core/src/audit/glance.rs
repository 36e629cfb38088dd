//! Checks one training step without another evaluation.

use std::collections::HashSet;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId};

use super::graph::Graph;
use super::probe::Value;
use super::{Audit, AuditedLeaf, Cause, Finding, Outcome, strangers};
use crate::error::Result;
use crate::model::{Freezable, Freezer, Leaf};

/// Checks one step's loss and gradients: is the loss finite, did every trained leaf get a gradient,
/// did any go to variables that are frozen or not part of the model, and is the first leaf, which
/// freezes first, the last one used? [`audit`](fn@super::audit) finds out why a gradient is
/// missing.
///
/// The loss must have been computed through the freezer's view, as in a step. Cheap: it walks the
/// graph once and reads the loss.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::{Linear, linear};
/// use freeze_core::{Freezable, Freezer, audit::glance, init::Seeded};
///
/// #[derive(Freezable)]
/// struct Net {
///     head: Linear, // would freeze first
///     body: Vec<Linear>,
/// }
///
/// let vb = Seeded::builder(0, DType::F32, &Device::Cpu);
/// let body = vec![linear(4, 4, vb.pp("a"))?, linear(4, 4, vb.pp("b"))?];
/// let net = Freezer::new(Net { head: linear(4, 2, vb.pp("head"))?, body })?;
/// let x = Tensor::ones((3, 4), DType::F32, &Device::Cpu)?;
/// let x = net.body.iter().try_fold(x, |x, layer| layer.forward(&x))?;
/// let loss = net.head.forward(&x)?.sqr()?.mean_all()?;
/// let findings = glance(&net, &loss, &loss.backward()?)?;
/// assert!(findings[0].to_string().starts_with("`head` is declared first"));
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// # Errors
///
/// A layer of the model cannot be rebuilt, or the loss cannot be read.
pub fn glance<M: Freezable>(
    freezer: &Freezer<M>,
    loss: &Tensor,
    grads: &GradStore,
) -> Result<Vec<Finding>> {
    glance_at(freezer, loss, &|id| grads.get_id(id).is_some())
}

/// As [`glance`], where `reached` tells which variables have a gradient.
pub(crate) fn glance_at<M: Freezable>(
    freezer: &Freezer<M>,
    loss: &Tensor,
    reached: &dyn Fn(TensorId) -> bool,
) -> Result<Vec<Finding>> {
    let (plan, leaves) = (freezer.plan(), freezer.whole().leaves()?);
    let mut audited: Vec<AuditedLeaf> =
        leaves.iter().map(|leaf| AuditedLeaf::start(leaf, plan)).collect();
    let has_variables = leaves.iter().any(Leaf::is_trainable);
    let mut general = Vec::new();
    if has_variables {
        let graph = Graph::of(loss);
        if !Value::of(loss)?.is_finite() {
            general.push(Finding::NonFiniteLoss);
        }
        for (leaf, audited) in leaves.iter().zip(&mut audited) {
            audited.mark_missing(leaf, reached);
            if !audited.missing.is_empty() {
                audited.outcome = Outcome::Missing(Cause::NotTried);
            }
        }
        let is_trained = |leaf: &&Leaf| !plan.states()[leaf.index].is_frozen();
        let trained = leaves.iter().filter(is_trained).flat_map(|leaf| &leaf.params);
        let trained: HashSet<TensorId> = trained.map(|param| param.id).collect();
        general.extend(strangers::past(&graph, &leaves, |id| !trained.contains(&id)));
        general.extend(strangers::outside(&graph, &leaves));
        general.extend(first_runs_last(&graph, leaves.iter().filter(is_trained)));
    }
    Ok(Audit { leaves: audited, has_variables, general }.findings())
}

/// The first trained leaf, if there are at least three and it is used last, such as a head that is
/// declared first.
fn first_runs_last<'a>(graph: &Graph, trained: impl Iterator<Item = &'a Leaf>) -> Option<Finding> {
    let place = |leaf: &Leaf| {
        leaf.params.iter().filter_map(|param| graph.order.get(&param.id)).min().copied()
    };
    let mut places = trained.filter_map(|leaf| Some((leaf, place(leaf)?)));
    let (first, last) = places.next()?;
    let others: Vec<usize> = places.map(|(_, place)| place).collect();
    let runs_last = others.len() > 1 && others.iter().all(|place| *place < last);
    runs_last.then(|| Finding::FirstRunsLast { path: first.path.clone() })
}
