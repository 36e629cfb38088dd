//! Collects the errors of one input, so that all are reported at once.

use std::fmt::Display;

use quote::ToTokens;

/// The errors found so far. Only [`Errors::finish`], which consumes the collector, returns the
/// checked model, so that no error can be dropped.
#[must_use]
#[derive(Default)]
pub(crate) struct Errors {
    found: Option<syn::Error>,
}

impl Errors {
    /// Adds an error that underlines `culprit`.
    pub(crate) fn at(&mut self, culprit: impl ToTokens, text: impl Display) {
        self.add(syn::Error::new_spanned(culprit, text));
    }

    /// Adds an error that already has its span.
    pub(crate) fn add(&mut self, error: syn::Error) {
        match &mut self.found {
            Some(found) => found.combine(error),
            None => self.found = Some(error),
        }
    }

    /// The result of `make`, or all errors together.
    pub(crate) fn finish<T>(self, make: impl FnOnce() -> T) -> syn::Result<T> {
        match self.found {
            Some(found) => Err(found),
            None => Ok(make()),
        }
    }
}
