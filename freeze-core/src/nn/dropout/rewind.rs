//! Puts the generators of dropouts back after a trial, so that a trial repeats and leaves no trace.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use super::DropoutState;

type Drawn = Vec<(Arc<Mutex<DropoutState>>, DropoutState)>;

thread_local! {
    static DRAWN: RefCell<Option<Drawn>> = const { RefCell::new(None) };
}

/// While it lives, every generator that a dropout on this thread draws from is remembered; dropped,
/// it puts them back.
pub(crate) struct Rewind {
    outer: Option<Drawn>,
}

impl Rewind {
    pub(crate) fn start() -> Self {
        Self { outer: DRAWN.replace(Some(Vec::new())) }
    }
}

impl Drop for Rewind {
    fn drop(&mut self) {
        let drawn = DRAWN.replace(self.outer.take()).unwrap_or_default();
        // The earliest state of each generator is set last.
        for (generator, state) in drawn.into_iter().rev() {
            *generator.lock().unwrap_or_else(PoisonError::into_inner) = state;
        }
    }
}

/// Called with the state that a draw starts from.
pub(super) fn remember(generator: &Arc<Mutex<DropoutState>>, start: DropoutState) {
    DRAWN.with_borrow_mut(|drawn| {
        if let Some(drawn) = drawn {
            drawn.push((generator.clone(), start));
        }
    });
}
