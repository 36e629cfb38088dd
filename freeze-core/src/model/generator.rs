//! The generator of a dropout: one, however many clones and views draw from it.

mod rewind;

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

pub(crate) use rewind::Rewind;

/// Where a dropout's generator stands: ChaCha8 from `seed`, `position` words of 32 bits into its
/// stream. Every element of an input takes one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DropoutState {
    /// What the generator was seeded with.
    pub seed: u64,
    /// The number of words drawn so far.
    pub position: u64,
}

/// A handle: clones are the same generator.
#[derive(Clone, Debug)]
pub(crate) struct Generator(Arc<Mutex<DropoutState>>);

impl Generator {
    pub(crate) fn new(state: DropoutState) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn state(&self) -> DropoutState {
        *self.lock()
    }

    pub(crate) fn set_state(&self, state: DropoutState) {
        *self.lock() = state;
    }

    /// Whether the other is this one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The state to draw `words` from, which counts as done.
    pub(crate) fn advance(&self, words: usize) -> DropoutState {
        let mut state = self.lock();
        let start = *state;
        remember(self, start);
        state.position = state.position.wrapping_add(words as u64);
        start
    }

    fn lock(&self) -> MutexGuard<'_, DropoutState> {
        // The state is whole at any time: a panic elsewhere does no harm to it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was drawn: each generator with the state that a draw started from, the earliest first.
type Drawn = Vec<(Generator, DropoutState)>;

thread_local! {
    /// The draws on this thread, while somebody wants to take them back.
    static DRAWN: RefCell<Option<Drawn>> = const { RefCell::new(None) };
}

fn remember(generator: &Generator, start: DropoutState) {
    DRAWN.with_borrow_mut(|drawn| {
        if let Some(drawn) = drawn {
            drawn.push((generator.clone(), start));
        }
    });
}
