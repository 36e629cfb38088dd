//! `#[derive(Flow)]`: a struct of tensors, part by part.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, quote};
use syn::ext::IdentExt as _;
use syn::{Data, DeriveInput, Field, Member, Path};

use crate::attr::FlowAttrs;
use crate::check::crate_path;
use crate::errors::Errors;
use crate::names::Names;
use crate::{bounds, lints};

/// `impl Flow` for the struct; if there are errors, all of them and an impl that compiles.
pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let attrs = FlowAttrs::read(&input.attrs, &mut errors);
    let krate = crate_path(attrs.krate.value(), &mut errors);
    let fields = fields(input, &mut errors);
    let names = Names::new(input, 0);
    let flat = names.mapper();
    let (flatten, unflatten, faults) = match errors.finish(|| ()) {
        Ok(()) => (flatten(&krate, &fields, &names), unflatten(&krate, &fields, &names), None),
        Err(faults) => {
            let ignored = quote!(let _ = #flat;);
            (ignored.clone(), quote!(#ignored loop {}), Some(faults.into_compile_error()))
        }
    };
    let (hiding, lints, ident) = (names.hiding(), lints::allow(input), &input.ident);
    let (generics, arguments, own_where) = input.generics.split_for_impl();
    let own = own_where.into_iter().flat_map(|clause| &clause.predicates);
    let generic = fields.iter().map(|(_, field)| &field.ty);
    let generic = generic.filter(|ty| bounds::is_generic(&ty.to_token_stream(), &input.generics));
    quote! {
        #faults

        const _: () = {
            #hiding

            #[automatically_derived]
            #lints
            impl #generics #krate::Flow for #ident #arguments
            where #(#own,)* #(#generic: #krate::Flow,)*
            {
                fn flatten(&self, #flat: &mut #krate::Flat) {
                    #flatten
                }

                fn unflatten(#flat: &mut #krate::Flat) -> #krate::Result<Self> {
                    #unflatten
                }
            }
        };
    }
}

/// The fields of a struct; an error if there are none.
fn fields<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Vec<(Member, &'a Field)> {
    let data = match &input.data {
        Data::Struct(data) => data,
        Data::Enum(data) => {
            let text = "`Flow` cannot be derived for enums, since all samples of a batch flow alike; use \
                        a struct, with an `Option` for what is not always there";
            errors.at(data.enum_token, text);
            return Vec::new();
        }
        Data::Union(data) => {
            errors.at(data.union_token, "`Flow` cannot be derived for unions; use a struct");
            return Vec::new();
        }
    };
    if data.fields.is_empty() {
        let name = input.ident.unraw();
        let text = "has no tensor that could flow; what all samples share belongs in `Context`";
        errors.at(&input.ident, format_args!("`{name}` {text}"));
    }
    for field in &data.fields {
        FlowAttrs::refuse(&field.attrs, errors);
    }
    data.fields.members().zip(&data.fields).collect()
}

fn flatten(krate: &Path, fields: &[(Member, &Field)], names: &Names) -> TokenStream {
    let flat = names.mapper();
    let parts = fields.iter().map(|(member, Field { ty, .. })| {
        let name = match member {
            Member::Named(ident) => ident.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        let part = quote!(<#ty as #krate::Flow>::flatten(&self.#member, #flat));
        quote!(#krate::Flat::at(#flat, #name, |#flat| #part);)
    });
    quote!(#(#parts)*)
}

fn unflatten(krate: &Path, fields: &[(Member, &Field)], names: &Names) -> TokenStream {
    let flat = names.mapper();
    let parts = fields.iter().map(
        |(member, Field { ty, .. })| quote!(#member: <#ty as #krate::Flow>::unflatten(#flat)?),
    );
    quote!(::core::result::Result::Ok(Self { #(#parts),* }))
}
