//! From the wishes of a caller to the sums of an update, and from those to norms.

use crate::kernel::update::{Sums, Tally};
use crate::plan::{Measured, Measures, Norms};

/// The sums that an update begins with; `None` if nothing is to be measured.
pub(super) fn tally(measures: Measures) -> Option<Tally> {
    let Measures { gradient, update, weight, relative_update } = measures;
    let sums = |wanted: bool| wanted.then(Sums::default);
    (!measures.is_empty()).then(|| Tally {
        gradient: sums(gradient),
        update: sums(update),
        weight: sums(weight),
        relative: relative_update.then_some(0.0),
    })
}

/// What the sums over this many elements say.
pub(super) fn measured(tally: &Tally, elements: usize) -> Measured {
    let norms = |sums: Sums| Norms { l1: sums.l1, l2: sums.squares.sqrt() };
    Measured {
        gradient: tally.gradient.map(norms),
        update: tally.update.map(norms),
        weight: tally.weight.map(norms),
        relative_update: tally.relative.map(|sum| sum / elements.max(1) as f64),
    }
}
