//! Collects the errors of one input, so that all are reported at once.

use std::fmt::Display;

use proc_macro2::Ident;
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

    /// Adds an error for two keys that exclude each other, at the later one.
    pub(crate) fn conflict(
        &mut self,
        first: Option<&(usize, Ident)>,
        second: Option<&(usize, Ident)>,
        why: &str,
    ) {
        if let (Some(first), Some(second)) = (first, second) {
            let later = if first.0 > second.0 { first } else { second };
            let text = format!("`{}` and `{}` conflict: {why}", first.1, second.1);
            self.at(&later.1, text);
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
