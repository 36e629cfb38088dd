//! What passes between the nodes of a stage in a backward.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;

use super::nodes::Arrived;

/// From the outlets down to the topmost link, and from there to the others.
#[derive(Default)]
pub(super) struct Passage {
    /// With the places of the results.
    arrived: Mutex<Vec<(usize, Arrived)>>,
    /// By the places of the operands.
    found: Mutex<Vec<Option<Tensor>>>,
}

impl Passage {
    /// Puts down what arrived at the outlet of a result; what a backward that failed left there goes.
    pub(super) fn arrive(&self, place: usize, new: Arrived) {
        let mut arrived = lock(&self.arrived);
        arrived.retain(|(other, _)| *other != place);
        arrived.push((place, new));
    }

    /// All that arrived, the latest first.
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
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
