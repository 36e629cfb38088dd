//! Gradients that pass between the nodes of a stage in a backward.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;

use super::nodes::Arrived;

/// Gradients from the outlets to the topmost link, and from there to the other links.
#[derive(Default)]
pub(super) struct Passage {
    /// The gradients of results, with the results' indices.
    arrived: Mutex<Vec<(usize, Arrived)>>,
    /// The gradients of operands, by the operands' indices.
    found: Mutex<Vec<Option<Tensor>>>,
}

impl Passage {
    /// Stores the gradient of the result at `place`; one left by a failed backward is dropped.
    pub(super) fn arrive(&self, place: usize, new: Arrived) {
        let mut arrived = lock(&self.arrived);
        arrived.retain(|(other, _)| *other != place);
        arrived.push((place, new));
    }

    /// Takes all gradients of results, the latest first.
    pub(super) fn take_arrived(&self) -> Vec<(usize, Arrived)> {
        let mut arrived = std::mem::take(&mut *lock(&self.arrived));
        arrived.reverse();
        arrived
    }

    pub(super) fn set_found(&self, found: Vec<Option<Tensor>>) {
        *lock(&self.found) = found;
    }

    /// The gradient of the operand at `place`.
    pub(super) fn take_found(&self, place: usize) -> Option<Tensor> {
        lock(&self.found).get_mut(place)?.take()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
