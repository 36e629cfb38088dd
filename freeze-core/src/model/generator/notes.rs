//! The states of generators before a part of a forward drew from them, so that the part can run
//! again with the same draws.

use super::{DRAWN, Drawn, Generator, Rewind};
use crate::model::DropoutState;

/// The state of each generator before the first draw from it.
#[derive(Debug)]
pub(crate) struct Notes(Vec<(Generator, DropoutState)>);

impl Notes {
    /// Runs `run` and records the generators that dropouts on this thread draw from meanwhile.
    pub(crate) fn take<R>(run: impl FnOnce() -> R) -> (R, Self) {
        let listener = Listener { outer: DRAWN.replace(Some(Vec::new())) };
        let result = run();
        let mut notes: Drawn = Vec::new();
        DRAWN.with_borrow(|drawn| {
            for (generator, state) in drawn.iter().flatten() {
                if !notes.iter().any(|(other, _)| other.is(generator)) {
                    notes.push((generator.clone(), *state));
                }
            }
        });
        drop(listener);
        (result, Self(notes))
    }

    /// Runs `run` from the recorded states; afterwards every generator has its previous state
    /// again.
    pub(crate) fn replay<R>(&self, run: impl FnOnce() -> R) -> R {
        let _rewind = Rewind::start(self.0.iter().map(|(generator, _)| generator));
        self.0.iter().for_each(|(generator, state)| generator.set_state(*state));
        run()
    }
}

/// Passes the draws on to the previous recorder, also after a panic.
struct Listener {
    outer: Option<Drawn>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let drawn = DRAWN.replace(self.outer.take()).unwrap_or_default();
        DRAWN.with_borrow_mut(|outer| {
            if let Some(outer) = outer {
                outer.extend(drawn);
            }
        });
    }
}
