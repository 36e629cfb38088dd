//! Instrumentation of the operations: `audit` and `forecast` open a log on their thread, and every
//! operation called there records which tensors it used and how long the parts of its backward
//! took.
//!
//! In ordinary training there is no log, and an operation only reads one thread-local variable.

mod recorded;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{Device, Result, Tensor, TensorId};
use serde::{Deserialize, Serialize};

use super::ops::node::Operands;
use super::ops::operation::{AnyOperation, Operation};
use crate::kernel::bytes_of;
use recorded::Recorded;

thread_local! {
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

struct Log {
    detail: Detail,
    calls: Vec<Call>,
}

/// How much is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Which tensors an operation was called with.
    Uses,
    /// Also its work, and the time of a part of its backward.
    Costs(Part),
}

/// The part of a backward that is timed, before anything else of it has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All gradients together: nothing runs that would not run without a recorder.
    Whole,
    /// The gradient of the input on its own, before the others.
    Input,
    /// The gradients of the weights on their own, before the others.
    Weight,
}

/// What an operation does with its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Every output is a sum of products with the weights of one output channel, the weight's first
    /// dimension.
    Products,
    /// A number of operations per element that does not grow with the operands.
    Elements,
    /// Given by the operation, all of whose operands are inputs.
    Inputs(Flops),
}

/// One call of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// All operands, and what some of them were made of: where all are inputs, parameters may be among them.
    pub(crate) operands: Vec<TensorId>,
    pub(crate) input_tracked: bool,
    pub(crate) weight_tracked: bool,
    pub(crate) flops: Flops,
    /// Bytes that the forward reads and writes.
    pub(crate) moved: usize,
    /// Bytes of the result.
    pub(crate) output: usize,
    /// When it was called.
    pub(crate) started: Instant,
    pub(crate) backward: Backward,
}

/// Floating-point operations: a multiplication and an addition count as two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flops {
    pub(crate) forward: u64,
    pub(crate) input: u64,
    pub(crate) weight: u64,
}

/// The time of a call's backward, as far as it was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backward {
    /// The gradient of the input alone, if there are others.
    pub(crate) input: Option<Duration>,
    /// The gradients of the weights alone, if there are others.
    pub(crate) weight: Option<Duration>,
    /// When candle called the backward of all gradients together, and when it returned.
    pub(crate) span: Option<(Instant, Instant)>,
}

/// Runs `run` while the operations on this thread are recorded.
pub(crate) fn record<R>(detail: Detail, run: impl FnOnce() -> R) -> (R, Vec<Call>) {
    /// Restores the previous recorder, also after a panic.
    struct Outer(Option<Log>);
    impl Drop for Outer {
        fn drop(&mut self) {
            LOG.set(self.0.take());
        }
    }
    let outer = Outer(LOG.replace(Some(Log { detail, calls: Vec::new() })));
    let result = run();
    let calls = LOG.take().map_or_else(Vec::new, |log| log.calls);
    drop(outer);
    (result, calls)
}

/// The result of `op` on an input and its weights.
pub(crate) fn apply<O, const N: usize>(operands: [&Tensor; N], work: Work, op: O) -> Result<Tensor>
where
    O: Operation<N>,
    for<'t> [&'t Tensor; N]: Operands<N>,
{
    apply_in_order(operands, work, Arc::new(op), &[])
}

/// As [`apply`], where an operand was made of parameters.
pub(crate) fn apply_made_of<O, const N: usize>(
    operands: [&Tensor; N],
    parameters: &[&Tensor],
    work: Work,
    op: O,
) -> Result<Tensor>
where
    O: Operation<N>,
    for<'t> [&'t Tensor; N]: Operands<N>,
{
    apply_in_order(operands, work, Arc::new(op), parameters)
}

/// As [`apply`], by an operation that reads views as they lie.
pub(crate) fn apply_to_views<O, const N: usize>(
    operands: [&Tensor; N],
    work: Work,
    op: O,
) -> Result<Tensor>
where
    O: Operation<N>,
    for<'t> [&'t Tensor; N]: Operands<N>,
{
    apply_any(operands, work, Arc::new(op), &[])
}

fn apply_in_order<const N: usize>(
    operands: [&Tensor; N],
    work: Work,
    op: Arc<dyn AnyOperation<N>>,
    parameters: &[&Tensor],
) -> Result<Tensor>
where
    for<'t> [&'t Tensor; N]: Operands<N>,
{
    let operands: Vec<Tensor> =
        operands.into_iter().map(Tensor::contiguous).collect::<Result<_>>()?;
    apply_any(std::array::from_fn(|place| &operands[place]), work, op, parameters)
}

fn apply_any<const N: usize>(
    operands: [&Tensor; N],
    work: Work,
    op: Arc<dyn AnyOperation<N>>,
    parameters: &[&Tensor],
) -> Result<Tensor>
where
    for<'t> [&'t Tensor; N]: Operands<N>,
{
    let count = match work {
        Work::Inputs(_) => N,
        _ => 1,
    };
    // Integers have no gradient, whatever they were made of.
    let operands = operands.map(|operand| match operand.dtype().is_int() {
        true => operand.detach(),
        false => operand.clone(),
    });
    let operands = operands.each_ref();
    let Some(detail) = detail() else { return operands.apply(op) };
    let split = operands.split_at(count);
    let call = Call::new(split, parameters);
    match detail {
        Detail::Uses => {
            push(call);
            operands.apply(op)
        }
        Detail::Costs(part) => timed(call, split, work, |call| {
            operands.apply(Arc::new(Recorded { op, call, part, inputs: count }))
        }),
    }
}

/// The time of `run`, also on devices that work asynchronously.
fn time<R>(device: &Device, run: impl FnOnce() -> Result<R>) -> Result<(R, Duration)> {
    device.synchronize()?;
    let start = Instant::now();
    let result = run()?;
    device.synchronize()?;
    Ok((result, start.elapsed()))
}

/// Whether operations on this thread report.
pub(crate) fn is_on() -> bool {
    detail().is_some()
}

fn detail() -> Option<Detail> {
    LOG.with_borrow(|log| log.as_ref().map(|log| log.detail))
}

fn timed(
    call: Call,
    (inputs, weights): (&[&Tensor], &[&Tensor]),
    work: Work,
    run: impl FnOnce(usize) -> Result<Tensor>,
) -> Result<Tensor> {
    inputs[0].device().synchronize()?;
    let index = push(Call { started: Instant::now(), ..call });
    let y = run(index)?;
    edit(index, |call| {
        call.flops = Flops::of(work, inputs[0], weights, &y);
        call.output = bytes_of(&y);
        call.moved =
            inputs.iter().chain(weights).map(|x| bytes_of(x)).sum::<usize>() + bytes_of(&y);
    });
    Ok(y)
}

fn push(call: Call) -> usize {
    LOG.with_borrow_mut(|log| match log {
        Some(log) => {
            log.calls.push(call);
            log.calls.len() - 1
        }
        None => 0,
    })
}

fn edit(index: usize, edit: impl FnOnce(&mut Call)) {
    LOG.with_borrow_mut(|log| {
        if let Some(call) = log.as_mut().and_then(|log| log.calls.get_mut(index)) {
            edit(call);
        }
    });
}

impl Call {
    fn new((inputs, weights): (&[&Tensor], &[&Tensor]), parameters: &[&Tensor]) -> Self {
        let operands = inputs.iter().chain(weights).chain(parameters);
        Self {
            operands: operands.map(|operand| operand.id()).collect(),
            input_tracked: inputs.iter().any(|input| input.track_op()),
            weight_tracked: weights.iter().any(|weight| weight.track_op()),
            flops: Flops::default(),
            moved: 0,
            output: 0,
            started: Instant::now(),
            backward: Backward::default(),
        }
    }
}

impl Flops {
    fn of(work: Work, x: &Tensor, weights: &[&Tensor], y: &Tensor) -> Self {
        let outputs = y.elem_count() as u64;
        match (work, weights) {
            (Work::Inputs(flops), _) => flops,
            (Work::Products, [weight, bias @ ..]) => {
                let channels = weight.dims().first().copied().unwrap_or(1).max(1);
                let products = 2 * outputs * (weight.elem_count() / channels) as u64;
                let additions = outputs * bias.len() as u64;
                Self {
                    forward: products + additions,
                    input: products,
                    weight: products + additions,
                }
            }
            _ => {
                let elements = outputs.max(x.elem_count() as u64);
                let weight = if weights.is_empty() { 0 } else { elements };
                Self { forward: elements, input: elements, weight }
            }
        }
    }
}
