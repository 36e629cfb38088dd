//! The derive macro of freeze-core.

mod attr;
mod bounds;
mod check;
mod errors;
mod expand;
mod fallback;
mod lints;
mod model;
mod parse;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

use crate::errors::Errors;

/// Derives `freeze_core::Freezable`.
#[proc_macro_derive(Freezable, attributes(freeze))]
pub fn derive_freezable(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let mut errors = Errors::default();
    let parsed = parse::parse(&input, &mut errors);
    match check::check(&parsed, errors) {
        Ok(model) => expand::expand(&model),
        Err(faults) => fallback::fallback(&parsed, faults),
    }
    .into()
}
