//! A backward pass that stores gradients of variables without candle's zeros and sums.

mod buffers;
mod hand_over;
mod part;
mod pass;
mod sink;
mod sums;
mod survey;

use std::cell::RefCell;
use std::rc::Rc;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};

use super::ops::released::check_retained;
pub(crate) use buffers::Buffers;
pub(crate) use hand_over::hand_over;
pub(super) use part::backward_of_part;
pub(crate) use pass::Graph;
pub(super) use pass::Pass;
use sink::with_sink;
pub(super) use sink::{apart, buffer, keeping};
use sums::Sums;
pub(crate) use survey::survey;

/// `loss.backward()`, but faster for large variables.
///
/// candle fills zeros for every gradient and adds to them what an operation returns: two more
/// passes over each weight's gradient. While this runs, operations of [`nn`](crate::nn) do not
/// return gradients of *variables* to candle: the first of each is kept as it is, and later ones
/// are added to it. Those of candle's own operations are added at the end. So the gradients are
/// those of `loss.backward()`, except for the sign of zeros and, if a variable is used more than
/// twice, the order of the sum.
///
/// ```
/// use candle_core::{DType, Device::Cpu, Tensor, Var};
/// use freeze_core::nn::ops::linear;
///
/// let weight = Var::ones((2, 3), DType::F32, &Cpu)?;
/// let x = Tensor::ones((4, 3), DType::F32, &Cpu)?;
/// let loss = linear(&x, &weight, None)?.sum_all()?;
/// let grads = freeze_core::backward(&loss)?;
/// assert_eq!(grads.get(&weight).map(|grad| grad.to_vec2::<f32>()).transpose()?, Some(vec![vec![4.; 3]; 2]));
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// A `CustomOp` of your own whose backward goes back through a graph of its own calls this there, too, and not candle's
/// `backward()`: gradients of variables within would go to the pass around it.
///
/// # Errors
///
/// An operation's backward fails.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    check_retained(loss)?;
    backward_into(loss, Graph::Retained, None)
}

/// [`backward`], which each operation leaves without the activations that it kept for it: at its end there are gradients
/// in their place and not both. So PyTorch does by default (`retain_graph=False`).
///
/// What operations of candle's own keep stays until the loss is dropped, and so do inputs that are no results of
/// [`nn`](crate::nn)'s operations; on Metal everything.
///
/// ```
/// use candle_core::{DType, Device::Cpu, Tensor, Var};
/// use freeze_core::nn::ops::{affine, mul};
///
/// let weight = Var::ones(3, DType::F32, &Cpu)?;
/// let hidden = affine(&weight, 2., 0.)?;
/// let loss = mul(&hidden, &hidden)?.sum_all()?;
/// let grads = freeze_core::backward_once(&loss)?;
/// assert_eq!(grads.get(&weight).map(|grad| grad.to_vec1::<f32>()).transpose()?, Some(vec![8.; 3]));
/// assert!(freeze_core::backward_once(&loss).is_err());
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`backward`]. An operation was gone through by such a pass before, of this loss or of another that shares a
/// part of its graph: then nothing is gone through.
pub fn backward_once(loss: &Tensor) -> Result<GradStore> {
    check_retained(loss)?;
    backward_into(loss, Graph::Released, None)
}

/// [`backward`] or [`backward_once`], with gradients in buffers, if there are some.
///
/// # Errors
///
/// Theirs.
pub(crate) fn backward_into(
    loss: &Tensor,
    graph: Graph,
    buffers: Option<&Buffers>,
) -> Result<GradStore> {
    let sums = buffers.map(Sums::within).unwrap_or_default();
    let sums = Rc::new(RefCell::new(sums));
    let mut grads = with_sink(sums.clone(), graph, || loss.backward())?;
    sums.borrow_mut().add_to(&mut grads)?;
    Ok(grads)
}
