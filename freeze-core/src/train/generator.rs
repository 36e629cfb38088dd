//! Random generators of the user's, saved with the run.

use std::sync::{Arc, Mutex, PoisonError};

use crate::checkpoint::{Registered, Resumable, from_bytes, to_bytes};

/// Generators by name.
pub(super) type Generators = Vec<(String, Box<dyn Registered + Send>)>;

/// A generator of which the user holds another handle.
pub(super) struct Shared<R: Resumable> {
    target: Arc<Mutex<R>>,
    staged: Option<R::State>,
}

impl<R: Resumable> Shared<R> {
    pub(super) fn new(target: Arc<Mutex<R>>) -> Self {
        Self { target, staged: None }
    }
}

impl<R: Resumable> Registered for Shared<R> {
    fn save(&self) -> Result<Vec<u8>, String> {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        to_bytes(&target.resumable_state())
    }

    fn prepare(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.staged = Some(from_bytes(bytes)?);
        Ok(())
    }

    fn commit(&mut self) {
        if let Some(state) = self.staged.take() {
            let mut target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
            target.resume_from(state);
        }
    }
}
