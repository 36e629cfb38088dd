//! The kept gradients of variables.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, TensorId};

use super::buffers::Buffers;
use super::sink::Sink;

/// The first gradient of each variable as it is, later ones added to it.
#[derive(Default)]
pub(super) struct Sums {
    kept: HashMap<TensorId, Tensor>,
    buffers: Option<Buffers>,
}

impl Sums {
    /// Sums of gradients in buffers.
    pub(super) fn within(buffers: &Buffers) -> Self {
        Self { buffers: Some(buffers.clone()), ..Self::default() }
    }

    /// Takes the sum of a variable out.
    pub(super) fn take(&mut self, variable: TensorId) -> Option<Tensor> {
        self.kept.remove(&variable)
    }

    /// Adds the kept gradients to those of candle's own operations.
    pub(super) fn add_to(&mut self, grads: &mut GradStore) -> Result<()> {
        for (id, kept) in self.kept.drain() {
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
        match self.kept.entry(variable.id()) {
            Entry::Occupied(mut sum) => {
                let both = (sum.get() + &gradient)?.detach();
                let before = sum.insert(both);
                if let Some(buffers) = &self.buffers {
                    buffers.give_back(&before);
                    buffers.give_back(&gradient);
                }
            }
            Entry::Vacant(place) => drop(place.insert(gradient)),
        }
        Ok(())
    }

    fn buffer(&mut self, shape: &[usize], dtype: DType) -> Result<Option<Tensor>> {
        self.buffers.as_ref().map(|buffers| buffers.lend(shape, dtype)).transpose()
    }

    fn returned(&mut self, gradient: &Tensor) {
        self.buffers.iter().for_each(|buffers| buffers.give_away(gradient));
    }
}
