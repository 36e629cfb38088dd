//! Code about the type of a part. A tuple is handled element by element, so that an error
//! underlines the right one.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Index, Path, Type};

use crate::names::Names;
use crate::way::Way;

/// The types that must be `Freezable` for `ty` to be.
pub(crate) fn types(ty: &Type) -> Vec<&Type> {
    match elements(ty) {
        Some(elements) => elements.into_iter().flat_map(types).collect(),
        None => vec![ty],
    }
}

/// Whether the type is written as a tuple, whose elements are handled one by one.
pub(crate) fn is_tuple(ty: &Type) -> bool {
    elements(ty).is_some()
}

/// The layout of a part.
pub(crate) fn layout(krate: &Path, ty: &Type) -> TokenStream {
    let Some(elements) = elements(ty) else { return quote!(<#ty as #krate::Freezable>::LEAVES) };
    let parts = elements.into_iter().enumerate().map(|(index, ty)| {
        let (name, inside) = (index.to_string(), layout(krate, ty));
        quote!(#krate::Part { name: #name, layout: &#inside })
    });
    quote!(const { #krate::LeafTree::group("tuple", &[#(#parts),*]) })
}

/// The walk through a part, as a `Result`; `place` is an expression for the part.
pub(crate) fn walk(
    way: Way,
    krate: &Path,
    ty: &Type,
    place: &TokenStream,
    names: &Names,
) -> TokenStream {
    let mapper = names.mapper();
    let Some(elements) = elements(ty) else {
        let method = way.method("params");
        return quote!(<#ty as #krate::Freezable>::#method(&#place, #mapper));
    };
    let values = elements.into_iter().enumerate().map(|(index, ty)| {
        let (name, member) = (index.to_string(), Index::from(index));
        let inside = walk(way, krate, ty, &quote!(#place.#member), names);
        quote!(#krate::Mapper::at(#mapper, #name, |#mapper| #inside)?)
    });
    match way {
        Way::Map => quote!(::core::result::Result::Ok((#(#values,)*))),
        Way::Visit => quote!({ #(#values;)* ::core::result::Result::Ok(()) }),
    }
}

/// The elements of a tuple; the empty tuple counts as an ordinary type.
fn elements(ty: &Type) -> Option<Vec<&Type>> {
    match ty {
        Type::Group(group) => elements(&group.elem),
        Type::Paren(paren) => elements(&paren.elem),
        Type::Tuple(tuple) if !tuple.elems.is_empty() => Some(tuple.elems.iter().collect()),
        _ => None,
    }
}
