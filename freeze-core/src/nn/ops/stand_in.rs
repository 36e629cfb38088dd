//! What stands for a result in candle's graph, and its way back.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use candle_core::{Result, Tensor};

use super::captured;
use super::held;
use super::left::Left;
use super::links::Inbox;
use super::operation::{AnyOperation, each_wanted};
use super::released::Released;
use crate::error::Error;
use crate::nn::backward::{Pass, keeping};

/// What stands for a result of an operation on `N` tensors, some of which have stand-ins as well.
pub(super) struct StandIn<const N: usize> {
    pub(super) name: &'static str,
    /// Those of the operands in whose place the graph has a stand-in.
    inboxes: [Option<Arc<Inbox>>; N],
    pub(super) inbox: Arc<Inbox>,
    remains: Remains<N>,
    released: OnceLock<Released>,
}

/// All that is kept of an operation for its backward, until it is released.
pub(super) struct Remains<const N: usize>(Arc<Mutex<Option<Arc<Kept<N>>>>>);

pub(super) struct Kept<const N: usize> {
    pub(super) op: Arc<dyn AnyOperation<N>>,
    /// Of those operands that have a stand-in.
    pub(super) operands: [Option<Left>; N],
    pub(super) result: Left,
}

impl<const N: usize> Remains<N> {
    pub(super) fn set(&self, kept: Kept<N>) {
        *self.lock() = Some(Arc::new(kept));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Kept<N>>>> {
        // No code that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const N: usize> StandIn<N> {
    /// One whose remains are set when there is a result.
    pub(super) fn new(name: &'static str, inboxes: [Option<Arc<Inbox>>; N]) -> (Self, Remains<N>) {
        let remains = Arc::<Mutex<_>>::default();
        let set = Remains(remains.clone());
        let (inbox, remains) = (Arc::default(), Remains(remains));
        (Self { name, inboxes, inbox, remains, released: OnceLock::new() }, set)
    }

    /// For each operand the number under which its gradient lies in its inbox, or the gradient itself, if it has none.
    /// `nodes` are the operands in candle's graph, or their stand-ins, and `node` is this one.
    pub(super) fn backward(
        &self,
        nodes: [&Tensor; N],
        node: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; N]> {
        let grad = self.inbox.take(grad)?;
        let Some(kept) = self.remains.lock().clone() else {
            return Err(Error::Released { op: self.name }.into());
        };
        let left = kept.operands.iter().flatten().chain([&kept.result]);
        held::note(node, left.filter_map(Left::whole));
        let mut operands = Vec::with_capacity(N);
        for (node, operand) in nodes.into_iter().zip(&kept.operands) {
            operands.push(match operand {
                Some(operand) => operand.tensor(&grad)?,
                None => node.clone(),
            });
        }
        let y = kept.result.tensor(&grad)?;
        let operands = std::array::from_fn(|place| &operands[place]);
        let mut gradients = gradients(&*kept.op, [nodes, operands], [node, &y], &grad)?;
        for (place, (gradient, inbox)) in gradients.iter_mut().zip(&self.inboxes).enumerate() {
            if let (Some(gradient), Some(inbox)) = (gradient, inbox) {
                *gradient = inbox.put((node.id(), place), gradient, nodes[place])?;
            }
        }
        if Pass::now().releases() && !captured::has(node.id()) {
            self.released.get_or_init(|| Released::new(node.id(), self.name));
            // `kept` goes behind the lock, and with it whole graphs of stages.
            *self.remains.lock() = None;
        }
        Ok(gradients)
    }
}

/// The gradients of the operands whose nodes are tracked, but for those of variables that a
/// [`backward`](crate::nn::backward()) keeps.
pub(super) fn gradients<const N: usize>(
    op: &dyn AnyOperation<N>,
    [nodes, operands]: [[&Tensor; N]; 2],
    [node, y]: [&Tensor; 2],
    grad: &Tensor,
) -> Result<[Option<Tensor>; N]> {
    let wanted = nodes.map(Tensor::track_op);
    let detached = operands.map(Tensor::detach);
    let grad = grad.detach().contiguous()?;
    keeping(operands, node, || match grad.elem_count() {
        0 => each_wanted(wanted, |place| detached[place].zeros_like()),
        _ => op.gradients(detached.each_ref(), y, &grad, wanted),
    })
}
