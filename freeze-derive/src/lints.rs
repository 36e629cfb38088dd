//! Avoids warnings about deprecated names that the user's code has already accepted.

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Meta};

/// `#[allow(deprecated)]` for the impl, which names the type and its fields' types again, if any of
/// them is or may be deprecated. Only then, because allowing a forbidden lint is itself an error.
pub(crate) fn allow(input: &DeriveInput) -> Option<TokenStream> {
    let fields: Vec<_> = match &input.data {
        Data::Struct(data) => data.fields.iter().collect(),
        Data::Enum(data) => data.variants.iter().flat_map(|variant| &variant.fields).collect(),
        Data::Union(data) => data.fields.named.iter().collect(),
    };
    let variants: Vec<_> = match &input.data {
        Data::Enum(data) => data.variants.iter().collect(),
        Data::Struct(_) | Data::Union(_) => Vec::new(),
    };
    let inside = variants.iter().flat_map(|variant| &variant.attrs);
    let inside = inside.chain(fields.iter().flat_map(|field| &field.attrs));
    let is_accepted = input.attrs.iter().chain(inside).any(accepts_deprecated);
    is_accepted.then(|| quote!(#[allow(deprecated)]))
}

fn accepts_deprecated(attr: &Attribute) -> bool {
    if attr.path().is_ident("deprecated") {
        return true;
    }
    let is_level = attr.path().is_ident("allow") || attr.path().is_ident("expect");
    let Meta::List(list) = &attr.meta else { return false };
    is_level
        && list.tokens.clone().into_iter().any(
            |token| matches!(token, TokenTree::Ident(ident) if ident == "deprecated" || ident == "warnings"),
        )
}
