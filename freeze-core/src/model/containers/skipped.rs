//! What a view does with a field that has no leaf.

/// A field that `#[freeze(skip)]` can stand on: every type that is `Clone`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be skipped as it is: a skipped field is cloned into each view",
    label = "not `Clone`",
    note = "wrap it in `Arc`: model and views then share it",
    note = "or implement `Clone` for it: each view then has its own"
)]
pub trait Skipped: Sized {
    /// The view's own.
    #[must_use]
    fn cloned(&self) -> Self;
}

// Without it the message would be that of `Clone`.
#[diagnostic::do_not_recommend]
impl<T: Clone> Skipped for T {
    fn cloned(&self) -> Self {
        self.clone()
    }
}
