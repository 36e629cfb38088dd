//! Third stage: writes the impl. It cannot fail.
//!
//! Items of a field's type are always written as `<Type as Trait>::item` with the user's own
//! tokens, so that the compiler underlines the whole type and reports an error once.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Path;
use syn::ext::IdentExt as _;

use crate::model::{Body, Field, Grain, Model, Role, Segment, Variant};
use crate::names::Names;
use crate::walk;
use crate::way::Way;
use crate::{bounds, declared, lints, part, recursion};

/// `impl Freezable` for the model.
pub(crate) fn expand(model: &Model<'_>) -> TokenStream {
    let Model { input, krate, .. } = model;
    let names = Names::new(input, model.body.most_fields());
    let layout = layout(model, &names);
    let [map, visit] = [Way::Map, Way::Visit].map(|way| walk::walk(way, model, &names));
    let lints = lints::allow(input);
    let (mapper, hiding) = (names.mapper(), names.hiding());
    let checks = recursion::checks(model, &names);
    let declared = declared::constants(model, &names);
    let version = version(krate);
    let ident = &input.ident;
    let (generics, arguments, own_where) = input.generics.split_for_impl();
    let own = own_where.into_iter().flat_map(|clause| &clause.predicates);
    let added = bounds::predicates(model);
    quote! {
        const _: () = {
            #version
            #hiding
            #declared

            #[automatically_derived]
            #lints
            impl #generics #krate::Freezable for #ident #arguments
            where #(#own,)* #(#added,)*
            {
                const LEAVES: #krate::LeafTree = #layout;

                fn map_params(&self, #mapper: &mut #krate::Mapper<'_>) -> #krate::Result<Self> {
                    #map
                }

                fn visit_params(&self, #mapper: &mut #krate::Mapper<'_>) -> #krate::Result<()> {
                    #visit
                }
            }

            #checks
        };
    }
}

/// Uses an item of the library that carries the version, so that another version is a compile error
/// that names it.
fn version(krate: &Path) -> TokenStream {
    let version = env!("CARGO_PKG_VERSION").replace(['.', '-', '+'], "_");
    let asked = format_ident!("freeze_derive_{version}");
    quote!(use #krate::__private::#asked as _;)
}

fn layout(model: &Model<'_>, names: &Names) -> TokenStream {
    let Model { krate, kind, .. } = model;
    let inside = match (&model.grain, &model.body) {
        (Grain::Unit, _) => quote!(#krate::LeafTree::leaf(#kind)),
        (Grain::Leaves, Body::Struct(fields)) => group(krate, kind, fields, names),
        (Grain::Leaves, Body::Enum(variants)) => {
            let parts = variants.iter().filter_map(|variant| variant_part(krate, variant, names));
            // A constant inside a function, because a recursive enum would otherwise contain
            // itself.
            quote! {
                #krate::LeafTree::open(#kind, || const { #krate::LeafTree::group(#kind, &[#(#parts),*]) })
            }
        }
    };
    declared::layout(krate, model.declared.as_ref(), names, inside)
}

/// A variant is not part of any path; its name is only for printing the layout.
fn variant_part(krate: &Path, variant: &Variant<'_>, names: &Names) -> Option<TokenStream> {
    let name = variant.ident.unraw().to_string();
    let kept = || variant.fields.iter().filter(|field| !matches!(field.role, Role::Skipped));
    let inside = match kept().next()? {
        field @ Field {
            role:
                Role::Part(Segment::Transparent)
                | Role::Unit(Segment::Transparent, _)
                | Role::Param(Segment::Transparent),
            ..
        } => field_layout(krate, field, names)?,
        _ => {
            // Inside a function only a constant can become a static, not a call.
            let group = group(krate, &name, &variant.fields, names);
            quote!(const { #group })
        }
    };
    Some(quote!(#krate::Part { name: #name, layout: &#inside }))
}

fn group(krate: &Path, kind: &str, fields: &[Field<'_>], names: &Names) -> TokenStream {
    let part = |field: &Field<'_>| {
        let name = match &field.role {
            Role::Part(Segment::Name(name))
            | Role::Unit(Segment::Name(name), _)
            | Role::Param(Segment::Name(name)) => name,
            _ => return None,
        };
        let inside = field_layout(krate, field, names)?;
        Some(quote!(#krate::Part { name: #name, layout: &#inside }))
    };
    let parts = fields.iter().filter_map(part);
    quote!(#krate::LeafTree::group(#kind, &[#(#parts),*]))
}

fn field_layout(krate: &Path, field: &Field<'_>, names: &Names) -> Option<TokenStream> {
    let ty = field.ty;
    let inside = match &field.role {
        Role::Skipped => return None,
        Role::Part(_) => part::layout(krate, ty),
        Role::Unit(_, kind) => quote!(const { #krate::LeafTree::leaf(#kind) }),
        Role::Param(_) => quote!(<#ty as #krate::TensorParam>::LEAVES),
    };
    Some(match &field.declared {
        None => inside,
        declared => {
            let inside = declared::layout(krate, declared.as_ref(), names, inside);
            quote!(const { #inside })
        }
    })
}
