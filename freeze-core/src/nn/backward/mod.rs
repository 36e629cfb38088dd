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

pub(crate) use buffers::Buffers;
pub(crate) use hand_over::hand_over;
pub(super) use part::backward_of_part;
pub(super) use pass::Pass;
use sink::with_sink;
pub(super) use sink::{buffer, keeping};
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
/// # Errors
///
/// An operation's backward fails.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    run(loss, Sums::default())
}

/// As [`backward`], with gradients in buffers, if there are some.
///
/// # Errors
///
/// As [`backward`].
pub(crate) fn backward_into(loss: &Tensor, buffers: Option<&Buffers>) -> Result<GradStore> {
    run(loss, buffers.map(Sums::within).unwrap_or_default())
}

fn run(loss: &Tensor, sums: Sums) -> Result<GradStore> {
    let sums = Rc::new(RefCell::new(sums));
    let mut grads = with_sink(sums.clone(), || loss.backward())?;
    sums.borrow_mut().add_to(&mut grads)?;
    Ok(grads)
}
