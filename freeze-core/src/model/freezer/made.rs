//! What is made once for each view of a freezer.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::revision::Revision;
use crate::error::Result;

/// The value that was made last, with the view that it was made for.
#[derive(Default)]
pub(crate) struct Made(Mutex<Option<(Revision, Arc<dyn Any + Send + Sync>)>>);

impl Made {
    /// The value of type `T` for the view `revision`: the one that was made last, if it is of this view, else a
    /// new one.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub(crate) fn get<T: Any + Send + Sync>(
        &self,
        revision: Revision,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = lock().clone().filter(|(of, _)| *of == revision);
        if let Some(Ok(made)) = last.map(|(_, made)| made.downcast()) {
            return Ok(made);
        }
        // Not under the lock: it may run the user's constructors.
        let made = Arc::new(make()?);
        *lock() = Some((revision, Arc::clone(&made) as Arc<dyn Any + Send + Sync>));
        Ok(made)
    }
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made").finish_non_exhaustive()
    }
}
