//! The backward of a part of a graph, run by the node that represents it in the whole graph.

use std::cell::RefCell;
use std::rc::Rc;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};

use super::pass::{Graph, Pass};
use super::sink::{Sink, is_open, with_sink};
use super::sums::Sums;

/// The gradients of a part, computed in the same way as the enclosing backward; the part is released. The node has
/// to return those of all variables.
///
/// # Errors
///
/// An operation's backward fails.
pub(in crate::nn) fn backward_of_part(part: &Tensor) -> Result<GradStore> {
    if !is_open() {
        return Pass::begin(Graph::Released, || part.backward());
    }
    let sums = Rc::new(RefCell::new(Returned::default()));
    let mut grads = with_sink(sums.clone(), Graph::Released, || part.backward())?;
    sums.borrow_mut().0.add_to(&mut grads)?;
    Ok(grads)
}

/// The gradients that the node returns.
#[derive(Default)]
struct Returned(Sums);

impl Sink for Returned {
    fn keep(&mut self, variable: &Tensor, gradient: Tensor) -> Result<()> {
        self.0.keep(variable, gradient)
    }

    fn is_returned(&self) -> bool {
        true
    }
}
