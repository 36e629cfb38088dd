//! Collects gradients of variables from operations while a backward runs on their thread.

use std::cell::RefCell;
use std::rc::Rc;

use candle_core::{DType, Result, Tensor, TensorId};

use super::pass::{Graph, Pass};

/// Receives gradients of variables from operations, which do not return them to candle.
pub(super) trait Sink {
    /// Receives a gradient of a variable.
    fn keep(&mut self, variable: &Tensor, gradient: Tensor) -> Result<()>;

    /// Whether gradients of variables are kept here, and not returned to candle.
    fn takes(&self) -> bool {
        true
    }

    /// A tensor on the CPU to write a gradient to, if the sink has buffers.
    fn buffer(&mut self, _shape: &[usize], _dtype: DType) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Called with each gradient that is returned to candle.
    fn returned(&mut self, _gradient: &Tensor) {}

    /// Called before an operation computes the gradients of these operands, here or in a nested
    /// backward.
    fn reads(&mut self, _operands: &[&Tensor]) -> Result<()> {
        Ok(())
    }

    /// Called when a nested backward has computed a gradient of the variable that no node of this
    /// backward's graph returns.
    fn kept_within(&mut self, _variable: &Tensor) {}

    /// Whether a node of the enclosing backward's graph returns what this sink keeps.
    fn is_returned(&self) -> bool {
        false
    }

    /// Called when all gradients of the operation that made the node have been kept.
    fn done(&mut self, _node: TensorId) -> Result<()> {
        Ok(())
    }
}

thread_local! {
    /// One for each running backward; backwards can be nested.
    static SINKS: RefCell<Vec<Rc<RefCell<dyn Sink>>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `run` as a pass with the sink open, and closes it afterwards, also if `run` panics.
pub(super) fn with_sink<R>(
    sink: Rc<RefCell<dyn Sink>>,
    graph: Graph,
    run: impl FnOnce() -> R,
) -> R {
    struct Close;
    impl Drop for Close {
        fn drop(&mut self) {
            SINKS.with_borrow_mut(|sinks| drop(sinks.pop()));
        }
    }
    SINKS.with_borrow_mut(|sinks| sinks.push(sink));
    let _close = Close;
    Pass::begin(graph, run)
}

/// Whether a backward with a sink is running on this thread.
pub(super) fn is_open() -> bool {
    SINKS.with_borrow(|sinks| !sinks.is_empty())
}

/// Runs `run`, a forward within a backward, as a pass of its own: what a backward in it computes is none of the
/// enclosing one's, which is told of what it uses all the same.
pub(in crate::nn) fn apart<R>(run: impl FnOnce() -> R) -> R {
    with_sink(Rc::new(RefCell::new(Apart)), Graph::Retained, run)
}

struct Apart;

impl Sink for Apart {
    fn keep(&mut self, _: &Tensor, _: Tensor) -> Result<()> {
        Ok(())
    }

    fn takes(&self) -> bool {
        false
    }
}

/// A tensor on the CPU for an operation to write the gradient of an operand to; `None` if the
/// operation should allocate one.
pub(in crate::nn) fn buffer(shape: &[usize], dtype: DType) -> Result<Option<Tensor>> {
    let sink = SINKS.with_borrow(|sinks| sinks.last().cloned());
    match sink.as_ref().and_then(|sink| sink.try_borrow_mut().ok()) {
        Some(mut sink) => sink.buffer(shape, dtype),
        None => Ok(None),
    }
}

/// Runs the backward of the operation that made `node`, and keeps the gradients of those operands that
/// are variables, if a sink is open on this thread.
pub(in crate::nn) fn keeping<const N: usize>(
    operands: [&Tensor; N],
    node: &Tensor,
    gradients: impl FnOnce() -> Result<[Option<Tensor>; N]>,
) -> Result<[Option<Tensor>; N]> {
    let open = reading(&operands)?;
    let mut gradients = gradients()?;
    keep(&open, &operands, node, &mut gradients)?;
    Ok(gradients)
}

/// The sinks that are open, told of what is read.
fn reading(operands: &[&Tensor]) -> Result<Vec<Rc<RefCell<dyn Sink>>>> {
    let open = SINKS.with_borrow(Vec::clone);
    for sink in &open {
        if let Ok(mut sink) = sink.try_borrow_mut() {
            sink.reads(operands)?;
        }
    }
    Ok(open)
}

fn keep(
    open: &[Rc<RefCell<dyn Sink>>],
    operands: &[&Tensor],
    node: &Tensor,
    gradients: &mut [Option<Tensor>],
) -> Result<()> {
    let Some((sink, around)) = open.split_last() else { return Ok(()) };
    // It is borrowed while it uses a gradient: a backward that runs then does not belong to this
    // one.
    let Ok(mut sink) = sink.try_borrow_mut() else { return Ok(()) };
    for (operand, gradient) in operands.iter().zip(gradients) {
        if gradient.is_none() || !operand.is_variable() {
            gradient.iter().for_each(|gradient| sink.returned(gradient));
            continue;
        }
        if sink.takes()
            && let Some(gradient) = gradient.take()
        {
            sink.keep(operand, gradient.detach())?;
        }
        for sink in around.iter().filter(|_| !sink.is_returned()) {
            if let Ok(mut sink) = sink.try_borrow_mut() {
                sink.kept_within(operand);
            }
        }
    }
    sink.done(node.id())
}
