//! Names for the bindings of the output that cannot clash with names of the user.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};

/// The names of the output's bindings.
///
/// A pattern that is a single identifier refers to a constant of that name if one is in scope. So
/// each name begins with more underscores than any in the input, and the output declares a function
/// of that name around the impl: the function shadows any such constant, and a binding may shadow
/// the function.
pub(crate) struct Names {
    prefix: String,
    fields: usize,
}

impl Names {
    /// Names for an impl over `input` that binds at most `fields` fields at once.
    pub(crate) fn new(input: impl ToTokens, fields: usize) -> Self {
        let mut prefix = "__".to_string();
        while has_prefix(input.to_token_stream(), &prefix) {
            prefix.push('_');
        }
        Self { prefix, fields }
    }

    /// The parameter that walks the model.
    pub(crate) fn mapper(&self) -> Ident {
        self.name("mapper")
    }

    /// The binding of a variant's field.
    pub(crate) fn field(&self, index: usize) -> Ident {
        self.name(&index.to_string())
    }

    /// The name of a function of the output.
    pub(crate) fn function(&self, what: &str, index: usize) -> Ident {
        self.name(&format!("{what}_{index}"))
    }

    /// The name of a constant of the output.
    pub(crate) fn constant(&self, index: usize) -> Ident {
        self.name(&format!("DECLARED_{index}"))
    }

    /// The functions that shadow the user's constants.
    pub(crate) fn hiding(&self) -> TokenStream {
        let fields = (0..self.fields).map(|index| self.field(index));
        let names = fields.chain([self.mapper()]);
        quote!(#(const fn #names() {})*)
    }

    fn name(&self, what: &str) -> Ident {
        format_ident!("{}{}", self.prefix, what, span = Span::mixed_site())
    }
}

fn has_prefix(tokens: TokenStream, prefix: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident.to_string().starts_with(prefix),
        TokenTree::Group(group) => has_prefix(group.stream(), prefix),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}
