//! Collects the faults of one input, so that one run shows them all.

use std::fmt::Display;

use quote::ToTokens;

/// The faults found so far. The checked model comes out of [`Errors::finish`] alone, which consumes
/// the collector: a fault cannot be dropped on the way.
#[must_use]
#[derive(Default)]
pub(crate) struct Errors {
    found: Option<syn::Error>,
}

impl Errors {
    /// Adds a fault that underlines `culprit`.
    pub(crate) fn at(&mut self, culprit: impl ToTokens, text: impl Display) {
        self.add(syn::Error::new_spanned(culprit, text));
    }

    /// Adds a fault that has its place already.
    pub(crate) fn add(&mut self, error: syn::Error) {
        match &mut self.found {
            Some(found) => found.combine(error),
            None => self.found = Some(error),
        }
    }

    /// What `make` makes, or all faults together.
    pub(crate) fn finish<T>(self, make: impl FnOnce() -> T) -> syn::Result<T> {
        match self.found {
            Some(found) => Err(found),
            None => Ok(make()),
        }
    }
}
