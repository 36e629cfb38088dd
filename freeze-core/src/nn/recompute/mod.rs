//! Recomputes activations in the backward instead of keeping them (Chen et al. 2016,
//! arXiv:1604.06174), which saves memory and costs time.
//!
//! A stage that is recomputed leaves three kinds of nodes in candle's graph. An [`Outlet`](nodes)
//! for each result, a link for each input and variable that the results depend on, in a chain below
//! the outlets, and nothing of what lies between. The backward reaches the outlets first, which
//! store their gradients, then the topmost link, which runs the stage and its backward again, and
//! then every other link, which returns the gradient of its operand. So the variables are operands
//! as in any graph, and code that looks for them finds them.

pub(crate) mod again;
mod entry;
mod nodes;
mod passage;
mod same;
mod segment;

use candle_core::Result;

use super::record;
use crate::model::{Flow, flattened, unflattened};
use entry::Entry;
use segment::{Run, Segment};

/// `stage(xs)`, keeping only `xs` for the backward, which runs the stage again. Gradients are
/// bit-identical to those of the stage itself. It costs a second forward, and a copy of the inputs
/// and outputs.
///
/// Dropouts of [`nn`](crate::nn) draw the same masks again, and running statistics of
/// [`nn::BatchNorm`](crate::nn::BatchNorm) are updated once. Calls can be nested, on one thread, and several threads
/// can go back through one stage at the same time by [`backward`](crate::backward()). A tensor that the stage returns unchanged stays the
/// same tensor. Pass tensors with a graph to the stage by `xs`: gradients of captured ones are correct
/// too, but the graph before them is walked for each such stage.
///
/// Within the stage, sums of gradients keep their order. If a tensor is used more than once inside
/// and also outside, or a variable more than once here and also elsewhere, more than two gradients
/// are added in a different order.
///
/// ```
/// use candle_core::{DType, Device::Cpu, Module, Tensor, Var};
/// use freeze_core::nn::{Linear, ops::gelu};
///
/// let weight = Var::ones((3, 3), DType::F32, &Cpu)?;
/// let layer = Linear::new(weight.as_tensor().clone(), None);
/// let xs = Tensor::ones((4, 3), DType::F32, &Cpu)?;
/// let stage = move |xs: Tensor| gelu(&layer.forward(&xs)?);
/// let plain = stage(xs.clone())?.sum_all()?;
/// let loss = freeze_core::recompute(xs, stage)?.sum_all()?;
/// let grad = |loss: &Tensor| -> candle_core::Result<_> {
///     freeze_core::backward(loss)?.get(&weight).map(|grad| grad.to_vec2::<f32>()).transpose()
/// };
/// assert_eq!(grad(&loss)?, grad(&plain)?);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
///
/// Those of `stage`. The backward fails if the stage fails when it runs again, or returns a
/// different result: because it draws from a generator other than those of [`nn`](crate::nn)'s
/// dropouts, has state, or a weight has changed in between. (The result is compared only on the
/// CPU; candle's own batch norm updates its statistics twice, which is not detected.)
pub fn recompute<F, G>(xs: F, stage: impl Fn(F) -> Result<G> + Send + Sync + 'static) -> Result<G>
where
    F: Flow + 'static,
    G: Flow + 'static,
{
    // An audit or a calibration has to see the operations themselves.
    if record::is_on() {
        return stage(xs);
    }
    let run: Run = Box::new(move |flat| Ok(flattened(&stage(unflattened(flat)?)?)));
    let inputs = flattened(&xs);
    drop(xs);
    Ok(unflattened(Segment::forward(run, inputs)?)?)
}

/// The same flow with a graph that begins there: tracked where it was, and without what lies behind.
pub(crate) fn entered<F: Flow>(xs: &F) -> Result<F> {
    Ok(unflattened(Entry::of(&flattened(xs))?.flat)?)
}
