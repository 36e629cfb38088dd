//! Gradients that pass between the nodes of a stage in a backward.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;

use super::nodes::Arrived;
use crate::nn::backward::Pass;

/// Gradients from the outlets to the topmost link, and from there to the other links, of each pass that is
/// under way.
#[derive(Default)]
pub(super) struct Passage {
    /// The gradients of results, with the results' indices.
    arrived: Mutex<HashMap<Pass, Vec<(usize, Arrived)>>>,
    /// The gradients of operands, by the operands' indices.
    found: Mutex<HashMap<Pass, Vec<Option<Tensor>>>>,
}

impl Passage {
    /// Stores the gradient of the result at `place`; one left by a failed backward is dropped.
    pub(super) fn arrive(&self, place: usize, new: Arrived) {
        let mut arrived = lock(&self.arrived);
        let own = arrived.entry(Pass::now()).or_default();
        own.retain(|(other, _)| *other != place);
        own.push((place, new));
    }

    /// Takes all gradients of results, the latest first.
    pub(super) fn take_arrived(&self) -> Vec<(usize, Arrived)> {
        let mut arrived = lock(&self.arrived).remove(&Pass::now()).unwrap_or_default();
        arrived.reverse();
        arrived
    }

    pub(super) fn set_found(&self, found: Vec<Option<Tensor>>) {
        lock(&self.found).insert(Pass::now(), found);
    }

    /// The gradient of the operand at `place`; that at 0 is taken last.
    pub(super) fn take_found(&self, place: usize) -> Option<Tensor> {
        let (mut found, pass) = (lock(&self.found), Pass::now());
        match place {
            0 => found.remove(&pass)?.into_iter().next()?,
            _ => found.get_mut(&pass)?.get_mut(place)?.take(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
