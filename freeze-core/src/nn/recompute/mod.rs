//! Activations that are computed again in the backward and not kept (Chen et al. 2016,
//! arXiv:1604.06174): memory for time.
//!
//! A stage that is recomputed leaves three kinds of nodes in candle's graph. An [`Outlet`](nodes) for
//! each result, a link for each input and variable that the results depend on, in a chain below the
//! outlets, and nothing of what lies between. The backward comes to the outlets first, which put down
//! their gradients, then to the topmost link, which runs the stage again and its backward, and to every
//! link, which returns the gradient of its operand. So the variables are operands as in any graph: all
//! that looks for them finds them.

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

/// `stage(xs)`, of which nothing is kept for the backward but `xs`: the backward runs the stage again,
/// and gradients are bit for bit those of the stage itself. Costs the time of a second forward, and a
/// copy of what flows in and out.
///
/// Dropouts of [`nn`](crate::nn) draw the same masks again, and running statistics of
/// [`nn::BatchNorm`](crate::nn::BatchNorm) move once. Calls may be nested. A tensor that the stage
/// passes on as it is stays the same tensor. What has a graph and is used by the stage should flow in
/// through `xs`: gradients through what the closure captures are right too, but all that lies behind is
/// gone through for each such stage.
///
/// Sums keep their order within the stage. Where a tensor is used more than once inside and also
/// outside, or a variable more than once here and also elsewhere, more than two gradients are added up
/// in another order than without.
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
/// Those of `stage`. The backward fails where the stage does then, or comes to another result than
/// before: it draws from a generator that is not a dropout's of [`nn`](crate::nn), it remembers
/// something, or a weight has changed in between. (The result is compared on the CPU; candle's own
/// batch norm moves its statistics twice, which is not noticed.)
pub fn recompute<F, G>(xs: F, stage: impl Fn(F) -> Result<G> + Send + Sync + 'static) -> Result<G>
where
    F: Flow + 'static,
    G: Flow + 'static,
{
    // An audit or a calibration looks at the operations themselves.
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
