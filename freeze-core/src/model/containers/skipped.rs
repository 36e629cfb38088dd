//! How views copy a skipped field.

/// A field that can be marked `#[freeze(skip)]`: every type that is `Clone`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be skipped as it is: a skipped field is cloned into each view",
    label = "not `Clone`",
    note = "wrap it in `Arc`: model and views then share it",
    note = "or implement `Clone` for it: each view then has its own"
)]
pub trait Skipped: Sized {
    /// The copy for the view.
    #[must_use]
    fn cloned(&self) -> Self;
}

// A trait of its own, so that the compile error is ours and not that of `Clone`.
#[diagnostic::do_not_recommend]
impl<T: Clone> Skipped for T {
    fn cloned(&self) -> Self {
        self.clone()
    }
}
