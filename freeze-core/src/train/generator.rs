//! The user's random generators, saved with the run.

use std::sync::{Arc, Mutex, PoisonError};

use crate::checkpoint::{Registered, Resumable, from_bytes, to_bytes};
use crate::plan::Prepared;

/// Generators by name.
pub(super) type Generators = Vec<(String, Box<dyn Registered + Send>)>;

/// A generator that the user holds another handle to.
pub(super) struct Shared<R>(pub(super) Arc<Mutex<R>>);

impl<R: Resumable> Registered for Shared<R> {
    fn save(&self) -> Result<Vec<u8>, String> {
        let target = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        to_bytes(&target.resumable_state())
    }

    fn prepare(&mut self, bytes: &[u8]) -> Result<Prepared<'_, ()>, String> {
        let state = from_bytes(bytes)?;
        Ok(Prepared::new(move || {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).resume_from(state);
        }))
    }
}
