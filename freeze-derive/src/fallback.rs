//! The impl for an input with errors: without it every use of the type would be a further error.

use proc_macro2::TokenStream;
use quote::quote;

use crate::errors::Errors;
use crate::parse::Parsed;
use crate::{check, lints, stages};

/// The errors, inside an impl that otherwise compiles.
///
/// They are placed in `LEAVES`, so that the compiler reports this constant only and not every
/// constant that is computed from it.
pub(crate) fn fallback(parsed: &Parsed<'_>, faults: syn::Error) -> TokenStream {
    // An error in the crate's path has already been reported.
    let krate = check::crate_path(parsed.attrs.krate.value(), &mut Errors::default());
    let lints = lints::allow(parsed.input);
    let ident = &parsed.input.ident;
    let (generics, arguments, wheres) = parsed.input.generics.split_for_impl();
    let faults = faults.into_compile_error();
    // Errors in the stages have already been reported.
    let stages = stages::check(parsed, &mut Errors::default());
    let stages = stages.map(|stages| stages::silent(parsed, &krate, &stages));
    quote! {
        #stages

        const _: () = {
            #[automatically_derived]
            #lints
            impl #generics #krate::Freezable for #ident #arguments #wheres {
                const LEAVES: #krate::LeafTree = { #faults };

                fn map_params(&self, _: &mut #krate::Mapper<'_>) -> #krate::Result<Self> {
                    loop {}
                }
            }
        };
    }
}
