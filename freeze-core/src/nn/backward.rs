//! The backward pass with gradients of variables put straight into place.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};

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
    let sink = Sink::open();
    let mut grads = loss.backward()?;
    for (id, kept) in sink.close() {
        let grad = match grads.get_id(id) {
            Some(other) => (other + &kept)?.detach(),
            None => kept,
        };
        grads.insert_id(id, grad);
    }
    Ok(grads)
}

/// Keeps the gradient of an operand, if that is a variable and a [`backward`] is under way on this thread.
pub(super) fn keep(operand: &Tensor, gradient: &mut Option<Tensor>) -> Result<()> {
    if !operand.is_variable() {
        return Ok(());
    }
    SINKS.with_borrow_mut(|sinks| {
        let (Some(kept), Some(new)) = (sinks.last_mut(), gradient.as_ref()) else { return Ok(()) };
        match kept.entry(operand.id()) {
            Entry::Occupied(mut sum) => *sum.get_mut() = (sum.get() + new)?.detach(),
            Entry::Vacant(place) => drop(place.insert(new.detach())),
        }
        *gradient = None;
        Ok(())
    })
}

type Kept = HashMap<TensorId, Tensor>;

thread_local! {
    /// One for each call that is under way: a backward may run within another's.
    static SINKS: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

/// Takes itself away when dropped, also where a backward fails or panics.
struct Sink;

impl Sink {
    fn open() -> Self {
        SINKS.with_borrow_mut(|sinks| sinks.push(Kept::new()));
        Self
    }

    /// What was kept.
    fn close(self) -> Kept {
        SINKS.with_borrow_mut(|sinks| sinks.last_mut().map(std::mem::take)).unwrap_or_default()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        SINKS.with_borrow_mut(|sinks| drop(sinks.pop()));
    }
}
