//! Types that hold one whole model.

use crate::model::{Freezable, Freezer};

/// A model, or a [`Freezer`] or [`Training`](crate::Training) that holds one; of these the whole
/// model is meant, not the view. Functions that save and load accept any of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not stand for a whole model",
    label = "neither a model nor its holder",
    note = "put `#[derive(Freezable)]` on the model, or hand over its `Freezer` or `Training`",
    note = "a `View`: hand over the model that it was taken of"
)]
pub trait Whole {
    /// The model.
    type Model: Freezable;

    /// The whole model.
    fn whole_model(&self) -> &Self::Model;
}

impl<M: Freezable> Whole for M {
    type Model = M;

    fn whole_model(&self) -> &M {
        self
    }
}

impl<M: Freezable> Whole for Freezer<M> {
    type Model = M;

    fn whole_model(&self) -> &M {
        self.whole()
    }
}
