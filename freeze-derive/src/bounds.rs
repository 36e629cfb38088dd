//! The predicates of the impl: only on the types of fields that mention a type parameter.

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Generics, Type};

use crate::model::{Bounds, Field, Model, Role};
use crate::part;

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
    let params = params_in(&ty.to_token_stream(), model);
    if params.is_empty() {
        return Vec::new();
    }
    match field.role {
        Role::Skipped => vec![quote!(#ty: #krate::Skipped)],
        Role::Param(_) => vec![quote!(#ty: #krate::TensorParam)],
        // `Vec<Tree<T>>: Freezable` as a bound of `Tree<T>: Freezable` would be circular.
        Role::Part(_) | Role::Unit(..) if is_recursive(ty, &model.input.ident) => {
            let params = params_in(&without_itself(ty.to_token_stream(), model), model);
            params.iter().map(|param| quote!(#param: #krate::Freezable)).collect()
        }
        Role::Part(_) | Role::Unit(..) => {
            let types = part::types(ty).into_iter();
            let generic = types.filter(|ty| !params_in(&ty.to_token_stream(), model).is_empty());
            generic.map(|ty| quote!(#ty: #krate::Freezable)).collect()
        }
    }
}

/// Whether the predicate on the field's type may be circular without being recognised here: the
/// type is more than a parameter, and does not name the derived type.
pub(crate) fn asks_for_itself_unseen(field: &Field<'_>, model: &Model<'_>) -> bool {
    let tokens = field.ty.to_token_stream();
    let is_layer = matches!(field.role, Role::Part(_) | Role::Unit(..));
    let is_inferred = matches!(model.bounds, Bounds::Inferred);
    let is_composed = words(tokens.clone()).len() > 1 && !params_in(&tokens, model).is_empty();
    is_layer && is_inferred && is_composed && !is_recursive(field.ty, &model.input.ident)
}

/// The type parameters that `tokens` name: as the first segment of a path, and not as the `T` of
/// `Trait<T = ..>`.
fn params_in<'a>(tokens: &TokenStream, model: &Model<'a>) -> Vec<&'a Ident> {
    params_of(tokens, &model.input.generics)
}

/// Whether `tokens` name a type parameter.
pub(crate) fn is_generic(tokens: &TokenStream, generics: &Generics) -> bool {
    !params_of(tokens, generics).is_empty()
}

fn params_of<'a>(tokens: &TokenStream, generics: &'a Generics) -> Vec<&'a Ident> {
    let words = words(tokens.clone());
    let is_named = |param: &&Ident| {
        let is_param = |word: &Word| word.ident == **param && !word.is_behind_colons;
        words.iter().any(|word| is_param(word) && !word.is_assigned)
    };
    generics.type_params().map(|param| &param.ident).filter(is_named).collect()
}

/// Whether `ty` names the derived type, by `Self` or its bare name, which can mean nothing else at
/// the place of its declaration. Behind another path the name may be that of another type.
fn is_recursive(ty: &Type, own: &Ident) -> bool {
    let is_own = |word: &Word| word.ident == *own && !word.is_behind_colons;
    words(ty.to_token_stream()).iter().any(|word| is_own(word) || word.ident == "Self")
}

/// Whether `tokens` contain `Self`.
pub(crate) fn names_self(tokens: TokenStream) -> bool {
    words(tokens).iter().any(|word| word.ident == "Self")
}

/// `tokens` without the derived type with its own arguments, `Tree<T>` in `struct Tree<T>`, because
/// the impl itself decides when that is `Freezable`.
fn without_itself(tokens: TokenStream, model: &Model<'_>) -> TokenStream {
    let (_, arguments, _) = model.input.generics.split_for_impl();
    let own = model.input.ident.to_token_stream().into_iter().chain(arguments.to_token_stream());
    let own: Vec<String> = own.map(|token| token.to_string()).collect();
    strip(tokens, &own)
}

/// `tokens` without every sequence of them that equals `what`.
fn strip(tokens: TokenStream, what: &[String]) -> TokenStream {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut kept = Vec::new();
    let mut rest = &tokens[..];
    while let [token, behind @ ..] = rest {
        let is_what =
            rest.len() >= what.len() && rest.iter().zip(what).all(|(t, w)| t.to_string() == *w);
        if is_what && !ends_in_colons(&kept) {
            rest = &rest[what.len()..];
            continue;
        }
        kept.push(match token {
            TokenTree::Group(group) => {
                Group::new(group.delimiter(), strip(group.stream(), what)).into()
            }
            token => token.clone(),
        });
        rest = behind;
    }
    kept.into_iter().collect()
}

fn ends_in_colons(tokens: &[TokenTree]) -> bool {
    let is_colon = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ':');
    matches!(tokens, [.., a, b] if is_colon(a) && is_colon(b))
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
