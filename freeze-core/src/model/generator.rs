//! The random generator of a dropout, which all its clones and views share.

mod notes;
mod rewind;

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

pub(crate) use notes::Notes;
pub(crate) use rewind::Rewind;

/// The state of a dropout's generator: ChaCha8 from `seed`, `position` 32-bit words into its
/// stream. Every element of an input uses one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DropoutState {
    /// The seed of the generator.
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
        self.with(|state| *state)
    }

    pub(crate) fn set_state(&self, state: DropoutState) {
        self.with(|now| *now = state);
    }

    /// Whether both are the same generator.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the current state and moves it on by `words`, which the caller draws.
    pub(crate) fn advance(&self, words: usize) -> DropoutState {
        let start = self.with(|state| {
            let start = *state;
            state.position = start.position.wrapping_add(words as u64);
            start
        });
        remember(self, start);
        start
    }

    /// `f` of the state; where this thread repeats draws, of the state that it has come to.
    fn with<R>(&self, f: impl FnOnce(&mut DropoutState) -> R) -> R {
        REPEATED.with_borrow_mut(|repeated| {
            match repeated.iter_mut().find(|(generator, _)| generator.is(self)) {
                Some((_, state)) => f(state),
                None => f(&mut self.lock()),
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, DropoutState> {
        // The state is always consistent, so a panic in another thread does no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each draw's generator with the state before the draw, the earliest first.
type Drawn = Vec<(Generator, DropoutState)>;

thread_local! {
    /// The draws on this thread, while a [`Rewind`] lives.
    static DRAWN: RefCell<Option<Drawn>> = const { RefCell::new(None) };

    /// The generators whose draws this thread repeats, with the state of each here: their own stays as it is.
    static REPEATED: RefCell<Vec<(Generator, DropoutState)>> = const { RefCell::new(Vec::new()) };
}

fn remember(generator: &Generator, start: DropoutState) {
    DRAWN.with_borrow_mut(|drawn| {
        if let Some(drawn) = drawn {
            drawn.push((generator.clone(), start));
        }
    });
}
