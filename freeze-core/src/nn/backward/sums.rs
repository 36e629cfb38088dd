//! The kept gradients of variables.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};

use super::sink::Sink;

/// The first gradient of each variable as it is, later ones added to it.
#[derive(Default)]
pub(super) struct Sums(HashMap<TensorId, Tensor>);

impl Sums {
    /// Takes the sum of a variable out.
    pub(super) fn take(&mut self, variable: TensorId) -> Option<Tensor> {
        self.0.remove(&variable)
    }

    /// Adds the kept gradients to those of candle's own operations.
    pub(super) fn add_to(&mut self, grads: &mut GradStore) -> Result<()> {
        for (id, kept) in self.0.drain() {
            let grad = match grads.get_id(id) {
                Some(other) => (other + &kept)?.detach(),
                None => kept,
            };
            grads.insert_id(id, grad);
        }
        Ok(())
    }
}

impl Sink for Sums {
    fn keep(&mut self, variable: &Tensor, gradient: Tensor) -> Result<()> {
        match self.0.entry(variable.id()) {
            Entry::Occupied(mut sum) => *sum.get_mut() = (sum.get() + gradient)?.detach(),
            Entry::Vacant(place) => drop(place.insert(gradient)),
        }
        Ok(())
    }
}
