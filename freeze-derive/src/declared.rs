//! The training attributes as constants, which both layout and walk use.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::Path;
use syn::spanned::Spanned as _;

use crate::model::{Declared, Model};
use crate::names::Names;

/// One constant for each declaration, so that the compiler checks each once, at its place.
pub(crate) fn constants(model: &Model<'_>, names: &Names) -> TokenStream {
    let krate = &model.krate;
    let fields = model.body.fields().into_iter().filter_map(|field| field.declared.as_ref());
    let constant = |declared: &Declared| {
        let (name, said) = (names.constant(declared.index), said(krate, declared));
        quote!(const #name: #krate::Declared = #said;)
    };
    model.declared.iter().chain(fields).map(constant).collect()
}

/// The layout with its attributes.
pub(crate) fn layout(
    krate: &Path,
    declared: Option<&Declared>,
    names: &Names,
    layout: TokenStream,
) -> TokenStream {
    let Some(name) = declared.map(|declared| names.constant(declared.index)) else { return layout };
    quote!(#krate::LeafTree::declare(#layout, #name))
}

/// The walk through a part with attributes.
pub(crate) fn walk(
    krate: &Path,
    declared: Option<&Declared>,
    names: &Names,
    walk: TokenStream,
) -> TokenStream {
    let Some(name) = declared.map(|declared| names.constant(declared.index)) else { return walk };
    let mapper = names.mapper();
    quote!(#krate::Mapper::declared(#mapper, #name, |#mapper| #walk))
}

fn said(krate: &Path, declared: &Declared) -> TokenStream {
    let mut said = quote!(#krate::Declared::NOTHING);
    if declared.frozen {
        said = quote!(#krate::Declared::frozen(#said));
    }
    if declared.always {
        said = quote!(#krate::Declared::always(#said));
    }
    if declared.no_decay {
        said = quote!(#krate::Declared::no_decay(#said));
    }
    match &declared.lr {
        Some(lr) => {
            // All with the span of the number, so that an error underlines it.
            let (krate, said) = (at(lr.span(), krate.to_token_stream()), at(lr.span(), said));
            quote_spanned!(lr.span()=> #krate::Declared::lr(#said, #lr))
        }
        None => said,
    }
}

/// The same tokens with another span.
fn at(span: Span, tokens: TokenStream) -> TokenStream {
    let moved = tokens.into_iter().map(|mut token| {
        token.set_span(token.span().located_at(span));
        token
    });
    moved.collect()
}
