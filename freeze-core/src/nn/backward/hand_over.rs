//! A backward that passes on each gradient as soon as it is complete, so that not all exist at the
//! same time.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, TensorId, bail};

use super::buffers::Buffers;
use super::pass::Graph;
use super::sink::{Sink, with_sink};
use super::sums::Sums;
use crate::kernel::StorageId;

/// Takes the gradient of a variable that no further operation will read, so that the variable may
/// be written to.
pub(crate) type Receive = Box<dyn FnMut(TensorId, Tensor) -> Result<()>>;

/// `loss.backward()`, where `receive` gets the gradient of each of the `ready` variables once the last
/// operation that depends on it is done; the others are returned.
///
/// # Errors
///
/// An operation's backward or `receive` fails; or a variable turns out not to be ready after its
/// gradient was passed on. See [`survey`](super::survey).
pub(crate) fn hand_over(
    loss: &Tensor,
    graph: Graph,
    ready: &HashSet<TensorId>,
    buffers: Option<&Buffers>,
    receive: Receive,
) -> Result<GradStore> {
    let mut last = last_uses(loss);
    last.values_mut().for_each(|variables| variables.retain(|variable| ready.contains(variable)));
    let sums = buffers.map(Sums::within).unwrap_or_default();
    let (storages, gone) = Default::default();
    let sink = Rc::new(RefCell::new(HandOver { sums, storages, last, gone, receive }));
    let mut grads = with_sink(sink.clone(), graph, || loss.backward())?;
    let sink = &mut *sink.borrow_mut();
    if sink.gone.values().any(|variable| grads.get_id(*variable).is_some()) {
        bail!("{TOO_EARLY}: an operation of candle's made another part of it")
    }
    sink.sums.add_to(&mut grads)?;
    Ok(grads)
}

const TOO_EARLY: &str = "the gradient of a variable was used before it was whole";

/// The variables whose gradients are complete after a node's backward: the last node that depends
/// on them.
///
/// candle runs the nodes in this order. Every node that reads a variable through the graph depends
/// on it, and the last one does so directly.
fn last_uses(loss: &Tensor) -> HashMap<TensorId, Vec<TensorId>> {
    let (mut unused, mut last) = (HashSet::new(), HashMap::<_, Vec<_>>::new());
    for node in loss.sorted_nodes().into_iter().rev() {
        if node.is_variable() {
            unused.insert(node.id());
        } else if !unused.is_empty() {
            let below = node.sorted_nodes().into_iter().map(Tensor::id);
            let found: Vec<TensorId> = below.filter(|below| unused.remove(below)).collect();
            last.insert(node.id(), found);
        }
    }
    last
}

struct HandOver {
    sums: Sums,
    /// The storages of the variables whose gradients were kept.
    storages: HashMap<TensorId, StorageId>,
    last: HashMap<TensorId, Vec<TensorId>>,
    /// The variables whose gradients were passed on, by their storage.
    gone: HashMap<StorageId, TensorId>,
    receive: Receive,
}

impl Sink for HandOver {
    fn keep(&mut self, variable: &Tensor, gradient: Tensor) -> Result<()> {
        self.storages.insert(variable.id(), StorageId::of(variable));
        self.sums.keep(variable, gradient)
    }

    fn buffer(&mut self, shape: &[usize], dtype: DType) -> Result<Option<Tensor>> {
        self.sums.buffer(shape, dtype)
    }

    fn returned(&mut self, gradient: &Tensor) {
        self.sums.returned(gradient);
    }

    fn reads(&mut self, operands: &[&Tensor]) -> Result<()> {
        let gone = |operand: &&Tensor| self.gone.contains_key(&StorageId::of(operand));
        if !self.gone.is_empty() && operands.iter().any(gone) {
            bail!("{TOO_EARLY}: another operation reads the variable")
        }
        Ok(())
    }

    fn done(&mut self, node: TensorId) -> Result<()> {
        for variable in self.last.remove(&node).unwrap_or_default() {
            let Some(gradient) = self.sums.take(variable) else { continue };
            let storage = self.storages.remove(&variable);
            self.gone.extend(storage.map(|storage| (storage, variable)));
            (self.receive)(variable, gradient)?;
        }
        Ok(())
    }
}
