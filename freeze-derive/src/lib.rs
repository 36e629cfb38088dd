//! `#[derive(Freezable)]` for freeze-core, which exports it: depend on that crate, not on this one.
//!
//! Three stages: `parse` reads the input and its attributes, `check` checks them and builds a valid
//! model, `expand` writes the impl. For an input with errors all of them are reported at once, with
//! an impl by `fallback`.
//!
//! The examples in `docs/` are tests of freeze-core: as tests of this crate, which is compiled for the compiler, they
//! would need a freeze-core of their own.

mod attr;
mod bounds;
mod check;
mod declared;
mod errors;
mod expand;
mod fallback;
mod flow;
mod lints;
mod model;
mod names;
mod parse;
mod part;
mod paths;
mod recursion;
mod stages;
mod walk;
mod way;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

use crate::errors::Errors;

#[cfg_attr(not(doctest), doc = include_str!("../docs/freezable.md"))]
#[proc_macro_derive(Freezable, attributes(freeze))]
pub fn derive_freezable(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let mut errors = Errors::default();
    let parsed = parse::parse(&input, &mut errors);
    match check::check(&parsed, errors) {
        Ok(model) => [expand::expand(&model), stages::expand(&model)].into_iter().collect(),
        Err(faults) => fallback::fallback(&parsed, faults),
    }
    .into()
}

#[cfg_attr(not(doctest), doc = include_str!("../docs/flow.md"))]
#[proc_macro_derive(Flow, attributes(freeze))]
pub fn derive_flow(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    flow::derive(&input).into()
}
