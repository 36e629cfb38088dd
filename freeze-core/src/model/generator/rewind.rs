//! Resets the generators of dropouts after a trial, so that a trial can be repeated and changes
//! nothing.

use super::{DRAWN, Drawn, Generator};

/// While it lives, every generator that a dropout on this thread draws from is recorded. When
/// dropped it resets them, and also the given ones, whichever thread drew from those.
pub(crate) struct Rewind {
    given: Drawn,
    outer: Option<Drawn>,
}

impl Rewind {
    pub(crate) fn start<'a>(generators: impl IntoIterator<Item = &'a Generator>) -> Self {
        let state = |generator: &Generator| (generator.clone(), generator.state());
        let given = generators.into_iter().map(state).collect();
        Self { given, outer: DRAWN.replace(Some(Vec::new())) }
    }

    /// The generators that were drawn from so far on this thread.
    pub(crate) fn drawn(&self) -> Vec<Generator> {
        let generators =
            |drawn: &Drawn| drawn.iter().map(|(generator, _)| generator.clone()).collect();
        DRAWN.with_borrow(|drawn| drawn.as_ref().map(generators).unwrap_or_default())
    }
}

impl Drop for Rewind {
    fn drop(&mut self) {
        let drawn = DRAWN.replace(self.outer.take()).unwrap_or_default();
        // The earliest state of each generator is set last.
        let latest_first = drawn.into_iter().rev();
        for (generator, state) in latest_first.chain(self.given.drain(..)) {
            generator.set_state(state);
        }
    }
}
