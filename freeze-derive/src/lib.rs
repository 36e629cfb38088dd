//! The derive macro of freeze-core.

use proc_macro::TokenStream;
use quote::quote;
use syn::ext::IdentExt as _;

/// Derives `freeze_core::Freezable`.
#[proc_macro_derive(Freezable, attributes(freeze))]
pub fn derive_freezable(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    let syn::Data::Struct(data) = &input.data else {
        let text = "`Freezable` is derived for structs only, so far";
        return syn::Error::new_spanned(&input.ident, text).into_compile_error().into();
    };
    let (mut parts, mut values) = (Vec::new(), Vec::new());
    for (member, field) in data.fields.members().zip(&data.fields) {
        let name = match &member {
            syn::Member::Named(ident) => ident.unraw().to_string(),
            syn::Member::Unnamed(index) => index.index.to_string(),
        };
        let skip = field.attrs.iter().any(|attr| {
            attr.path().is_ident("freeze")
                && attr.parse_args::<syn::Ident>().is_ok_and(|key| key == "skip")
        });
        let param = field.attrs.iter().any(|attr| {
            attr.path().is_ident("freeze")
                && attr.parse_args::<syn::Ident>().is_ok_and(|key| key == "param")
        });
        let ty = &field.ty;
        if skip {
            values.push(quote!(#member: <#ty as ::core::clone::Clone>::clone(&self.#member)));
            continue;
        }
        if param {
            parts.push(quote! { ::freeze_core::Part {
                name: #name,
                layout: &<#ty as ::freeze_core::TensorParam>::LAYOUT,
            } });
            values.push(quote!(#member: mapper.param(#name, &self.#member)?));
            continue;
        }
        parts.push(quote! { ::freeze_core::Part {
            name: #name,
            layout: &<#ty as ::freeze_core::Freezable>::LAYOUT,
        } });
        values.push(quote!(#member: mapper.part(#name, &self.#member)?));
    }
    let ident = &input.ident;
    let kind = ident.unraw().to_string();
    let (generics, arguments, wheres) = input.generics.split_for_impl();
    quote! {
        const _: () = {
            #[automatically_derived]
            impl #generics ::freeze_core::Freezable for #ident #arguments #wheres {
                const LAYOUT: ::freeze_core::Layout =
                    ::freeze_core::Layout::group(#kind, &[#(#parts),*]);

                fn map_params(
                    &self,
                    mapper: &mut ::freeze_core::Mapper<'_>,
                ) -> ::freeze_core::Result<Self> {
                    ::core::result::Result::Ok(Self { #(#values),* })
                }
            }
        };
    }
    .into()
}
