//! The predicates of the impl: on the types of fields that mention a type parameter, nothing else.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::Type;

use crate::model::{Bounds, Field, Model, Role};

/// The predicates to add to the type's own where clause.
pub(crate) fn predicates(model: &Model<'_>) -> Vec<TokenStream> {
    match &model.bounds {
        Bounds::Given(given) => given.iter().map(ToTokens::to_token_stream).collect(),
        Bounds::Inferred => {
            model.body.fields().into_iter().flat_map(|field| of_field(field, model)).collect()
        }
    }
}

fn of_field(field: &Field<'_>, model: &Model<'_>) -> Vec<TokenStream> {
    let (ty, krate) = (field.ty, &model.krate);
    let params: Vec<&Ident> =
        model.input.generics.type_params().map(|p| &p.ident).filter(|p| names(ty, p)).collect();
    if params.is_empty() {
        return Vec::new();
    }
    match field.role {
        Role::Skipped => vec![quote!(#ty: ::core::clone::Clone)],
        Role::Param(_) => vec![quote!(#ty: #krate::TensorParam)],
        // `Vec<Tree<T>>: Freezable` as a condition of `Tree<T>: Freezable` would ask for itself.
        Role::Part(_) | Role::Unit(..) if is_recursive(ty, &model.input.ident) => {
            params.iter().map(|param| quote!(#param: #krate::Freezable)).collect()
        }
        Role::Part(_) | Role::Unit(..) => vec![quote!(#ty: #krate::Freezable)],
    }
}

/// Whether `ty` names `param`: as the first segment of a path, and not as the `T` of `Trait<T = ..>`.
fn names(ty: &Type, param: &Ident) -> bool {
    let is_param =
        |word: &Word| word.ident == *param && !word.is_behind_colons && !word.is_assigned;
    words(ty.to_token_stream()).iter().any(is_param)
}

/// Whether `ty` names the type that is derived, itself or by `Self`.
fn is_recursive(ty: &Type, own: &Ident) -> bool {
    words(ty.to_token_stream()).iter().any(|word| word.ident == *own || word.ident == "Self")
}

/// An identifier within a type.
struct Word {
    ident: Ident,
    is_behind_colons: bool,
    is_assigned: bool,
}

/// Every identifier of `tokens`, also inside brackets and the invisible groups of `macro_rules!`.
fn words(tokens: TokenStream) -> Vec<Word> {
    let mut words = Vec::new();
    let mut colons = 0;
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_behind_colons = colons == 2;
        colons = match &token {
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons + 1,
            _ => 0,
        };
        match token {
            TokenTree::Group(group) => words.extend(self::words(group.stream())),
            TokenTree::Ident(ident) => {
                let next = tokens.peek();
                let is_assigned =
                    matches!(next, Some(TokenTree::Punct(punct)) if punct.as_char() == '=');
                words.push(Word { ident, is_behind_colons, is_assigned });
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    words
}
