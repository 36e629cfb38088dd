//! The bodies of the two walks over the same parts in the same order: one builds a new value, the
//! other only visits.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Path;

use crate::model::{Body, Field, Grain, Model, Role, Segment, Variant};
use crate::names::Names;
use crate::way::Way;
use crate::{declared, part};

/// The body of the walk through a value.
pub(crate) fn walk(way: Way, model: &Model<'_>, names: &Names) -> TokenStream {
    let krate = &model.krate;
    let made = match &model.body {
        Body::Struct(fields) => {
            let places = fields.iter().map(|Field { member, .. }| quote!(self.#member));
            made(way, krate, &quote!(Self), fields.iter().zip(places), names)
        }
        Body::Enum(variants) => {
            let arms = variants.iter().map(|variant| arm(way, krate, variant, names));
            quote!(match self { #(#arms)* })
        }
    };
    let made = match model.grain {
        Grain::Leaves => made,
        Grain::Unit => {
            let (mapper, kind) = (names.mapper(), &model.kind);
            quote!(#krate::Mapper::unit(#mapper, #kind, |#mapper| #made))
        }
    };
    declared::walk(krate, model.declared.as_ref(), names, made)
}

fn arm(way: Way, krate: &Path, variant: &Variant<'_>, names: &Names) -> TokenStream {
    let (ident, fields) = (variant.ident, &variant.fields);
    let places = (0..fields.len()).map(|i| names.field(i));
    let bindings = fields.iter().zip(places.clone()).map(|(Field { member, role, .. }, place)| {
        match (way, role) {
            (Way::Visit, Role::Skipped) => quote!(#member: _),
            _ => quote!(#member: #place),
        }
    });
    let places = fields.iter().zip(places.map(|place| quote!(#place)));
    let made = made(way, krate, &quote!(Self::#ident), places, names);
    quote!(Self::#ident { #(#bindings),* } => #made,)
}

/// The value that `constructor` builds from the fields; each comes with an expression for the
/// present field.
fn made<'a, 'f: 'a>(
    way: Way,
    krate: &Path,
    constructor: &TokenStream,
    fields: impl Iterator<Item = (&'a Field<'f>, TokenStream)>,
    names: &Names,
) -> TokenStream {
    let values = fields.filter_map(|(field, place)| {
        let (member, value) = (&field.member, value(way, krate, field, &place, names)?);
        Some(match way {
            Way::Map => quote!(#member: #value),
            Way::Visit => quote!(#value;),
        })
    });
    match way {
        Way::Map => quote!(::core::result::Result::Ok(#constructor { #(#values),* })),
        Way::Visit => quote!({ #(#values)* ::core::result::Result::Ok(()) }),
    }
}

/// The new value of a field, or the visit of it; `place` is an expression for the present field.
fn value(
    way: Way,
    krate: &Path,
    field: &Field<'_>,
    place: &TokenStream,
    names: &Names,
) -> Option<TokenStream> {
    let (ty, mapper) = (field.ty, names.mapper());
    let (segment, walked) = match &field.role {
        Role::Skipped => {
            return (way == Way::Map).then(|| quote!(<#ty as #krate::Skipped>::cloned(&#place)));
        }
        // In a closure, because otherwise the error type of a tuple's `Ok` could not be inferred.
        Role::Part(Segment::Transparent) if field.declared.is_none() => {
            let method = way.method("params");
            return Some(quote!(<#ty as #krate::Freezable>::#method(&#place, #mapper)?));
        }
        Role::Part(segment) => (segment, part::walk(way, krate, ty, place, names)),
        Role::Param(segment) => {
            let method = way.method("param");
            (segment, quote!(<#ty as #krate::TensorParam>::#method(&#place, #mapper)))
        }
        Role::Unit(segment, kind) => {
            let inside = part::walk(way, krate, ty, place, names);
            (segment, quote!(#krate::Mapper::unit(#mapper, #kind, |#mapper| #inside)))
        }
    };
    let walked = declared::walk(krate, field.declared.as_ref(), names, walked);
    Some(match segment {
        Segment::Transparent => quote!(#walked?),
        Segment::Name(name) => quote!(#krate::Mapper::at(#mapper, #name, |#mapper| #walked)?),
    })
}
