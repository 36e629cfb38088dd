//! The two walks, by what they make.

use proc_macro2::Ident;
use quote::format_ident;

/// The result of a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A new value.
    Map,
    /// Nothing.
    Visit,
}

impl Way {
    /// The name of the method for `what`.
    pub(crate) fn method(self, what: &str) -> Ident {
        match self {
            Self::Map => format_ident!("map_{what}"),
            Self::Visit => format_ident!("visit_{what}"),
        }
    }
}
