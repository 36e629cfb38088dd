//! The derive macro of freeze-core.

use proc_macro::TokenStream;

/// Derives `freeze_core::Freezable`.
#[proc_macro_derive(Freezable, attributes(freeze))]
pub fn derive_freezable(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
