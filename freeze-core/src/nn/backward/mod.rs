//! The backward pass with gradients of variables put straight into place.

mod hand_over;
mod sink;
mod sums;
mod survey;

use std::cell::RefCell;
use std::rc::Rc;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};

pub(crate) use hand_over::hand_over;
pub(super) use sink::keeping;
use sink::with_sink;
use sums::Sums;
pub(crate) use survey::survey;

/// `loss.backward()`, and faster where variables are large.
///
/// candle fills zeros for every gradient and adds what an operation returns to them: two more passes over
/// each weight's. While this runs, operations of [`nn`](crate::nn) keep gradients of *variables* from
/// candle, the first of each as it is, later ones added to it; what candle's own operations make of a
/// variable is added at the end. So the gradients are those of `loss.backward()`, but for the sign of
/// zeros and, where a variable is used more than twice, the order of their sum.
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
    let sums = Rc::new(RefCell::new(Sums::default()));
    let mut grads = with_sink(sums.clone(), || loss.backward())?;
    sums.borrow_mut().add_to(&mut grads)?;
    Ok(grads)
}
