//! The states of generators before a part of a forward drew from them, so that the part can run
//! again with the same draws.

use super::{DRAWN, Drawn, Generator, REPEATED, Rewind};
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

    /// Runs `run`, whose draws on this thread begin at the recorded states. The generators stay where they are, so other
    /// threads may draw from them, or repeat draws, at the same time.
    pub(crate) fn replay<R>(&self, run: impl FnOnce() -> R) -> R {
        let _repetition = Repetition { outer: REPEATED.replace(self.0.clone()) };
        // Of generators that had no draw when the states were recorded.
        let _rewind = Rewind::start([]);
        run()
    }
}

/// Ends a repetition and goes on with the one around it, also after a panic.
struct Repetition {
    outer: Vec<(Generator, DropoutState)>,
}

impl Drop for Repetition {
    fn drop(&mut self) {
        REPEATED.set(std::mem::take(&mut self.outer));
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
