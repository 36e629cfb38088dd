//! Whatever stands for one whole model.

use crate::model::{Freezable, Freezer};

/// A model, or what holds one: a [`Freezer`] or a [`Training`](crate::Training), which stand for
/// their whole model and not for the view that they show. What is saved and loaded takes any of them.
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
