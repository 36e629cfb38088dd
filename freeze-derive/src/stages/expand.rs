//! Writes the enum and its impls.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::ext::IdentExt as _;
use syn::{DeriveInput, Path};

use super::{Stages, Variant};
use crate::model::Model;
use crate::names::Names;
use crate::parse::Parsed;
use crate::{bounds, lints, part};

/// The enum of the model's stages and `impl Stages`; empty without `stages`.
pub(crate) fn expand(model: &Model<'_>) -> TokenStream {
    let Some(stages) = &model.stages else { return TokenStream::new() };
    let names = names(model.input, stages);
    let each = stages.variants.iter().map(|variant| each(&model.krate, stages, variant, &names));
    let each = quote!(#(#each)*);
    written(model.input, &model.krate, stages, &names, &bounds::predicates(model), &each)
}

/// The same for an input with errors, so that uses of it are no further errors.
pub(crate) fn silent(parsed: &Parsed<'_>, krate: &Path, stages: &Stages<'_>) -> TokenStream {
    let names = names(parsed.input, stages);
    let see = names.mapper();
    let nothing = quote!(let _ = #see;);
    written(parsed.input, krate, stages, &names, &[], &nothing)
}

/// Names for the indices of the deepest list, and for all of them together.
fn names(input: &DeriveInput, stages: &Stages<'_>) -> Names {
    let depths = stages.variants.iter().map(|variant| variant.lists.len());
    Names::new(input, depths.max().unwrap_or(0) + 1)
}

fn written(
    input: &DeriveInput,
    krate: &Path,
    stages: &Stages<'_>,
    names: &Names,
    predicates: &[TokenStream],
    each: &TokenStream,
) -> TokenStream {
    let DeriveInput { ident, vis, .. } = input;
    let name = &stages.name;
    let (see, hiding, lints) = (names.mapper(), names.hiding(), lints::allow(input));
    let (generics, arguments, own_where) = input.generics.split_for_impl();
    let own = own_where.into_iter().flat_map(|clause| &clause.predicates);
    let doc = format!("The stages of [`{}`], in the order of its fields.", ident.unraw());
    let variants = stages.variants.iter().map(declared);
    let shown = stages.variants.iter().map(|variant| shown(variant, names));
    quote! {
        #[doc = #doc]
        #[derive(
            ::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug, ::core::hash::Hash,
            ::core::cmp::PartialEq, ::core::cmp::Eq, ::core::cmp::PartialOrd, ::core::cmp::Ord,
        )]
        #vis enum #name { #(#variants,)* }

        const _: () = {
            #hiding

            #[automatically_derived]
            #lints
            impl #generics #krate::Stages for #ident #arguments
            where #(#own,)* #(#predicates,)*
            {
                type Stage = #name;

                fn each_stage(&self, #see: &mut dyn ::core::ops::FnMut(#name)) {
                    #each
                }
            }

            #[automatically_derived]
            impl #krate::Stage for #name {}

            #[automatically_derived]
            impl ::core::fmt::Display for #name {
                fn fmt(&self, #see: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    match *self { #(#shown)* }
                }
            }
        };
    }
}

/// The declaration of the variant.
fn declared(variant: &Variant<'_>) -> TokenStream {
    let (ident, segment) = (&variant.ident, &variant.segment);
    match variant.lists.as_slice() {
        [] => {
            let doc = format!("`{segment}`.");
            quote!(#[doc = #doc] #ident)
        }
        lists => {
            let doc = format!("An item of `{segment}`, by its index.");
            let index = lists.iter().map(|_| quote!(::core::primitive::usize));
            quote!(#[doc = #doc] #ident(#(#index),*))
        }
    }
}

/// The code that prints its path.
fn shown(variant: &Variant<'_>, names: &Names) -> TokenStream {
    let (ident, segment) = (&variant.ident, &variant.segment);
    let index = index(variant, names);
    let pattern = (!index.is_empty()).then(|| quote!((#(#index),*)));
    let (format, formatter) = ("{}".to_string() + &".{}".repeat(index.len()), names.mapper());
    quote! {
        Self::#ident #pattern => ::core::fmt::Formatter::write_fmt(
            #formatter,
            ::core::format_args!(#format, #segment #(, #index)*),
        ),
    }
}

/// The code that shows the stages of a field.
fn each(krate: &Path, stages: &Stages<'_>, variant: &Variant<'_>, names: &Names) -> TokenStream {
    let Variant { ident, member, ty, lists, .. } = variant;
    let (name, see) = (&stages.name, names.mapper());
    if variant.is_param {
        return quote! {
            if !<#ty as #krate::TensorParam>::is_absent(&self.#member) { #see(#name::#ident); }
        };
    }
    // Nothing is checked for a tuple: it is no list, and always present.
    if part::is_tuple(ty) {
        return quote!(#see(#name::#ident););
    }
    let depth = lists.len();
    let (index, at) = (index(variant, names), names.field(depth));
    let stage = match index.as_slice() {
        [] => quote!(#name::#ident),
        index => quote!(#name::#ident(#(*#index),*)),
    };
    quote! {
        #(let () = <#lists as #krate::__private::StageList>::IS_LIST;)*
        <#ty as #krate::Freezable>::each_item(
            &self.#member,
            #depth,
            &mut #krate::__private::no_index(),
            &mut |#at| if let [#(#index),*] = #at { #see(#stage) },
        );
    }
}

fn index(variant: &Variant<'_>, names: &Names) -> Vec<Ident> {
    (0..variant.lists.len()).map(|i| names.field(i)).collect()
}
