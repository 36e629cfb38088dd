//! The items of an attribute: keys with or without a value.

use proc_macro2::{Delimiter, Ident, Literal, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Expr, ExprLit, ExprUnary, Lit, LitStr, Meta, UnOp, parse_quote_spanned};

use super::place::{Place, home, unknown};
use crate::errors::Errors;

/// One `key` or `key = value`.
pub(super) struct Item {
    pub(super) rank: usize,
    pub(super) key: Ident,
    value: Option<TokenStream>,
}

impl Item {
    pub(super) fn flag(&self, errors: &mut Errors) -> Option<()> {
        match &self.value {
            None => Some(()),
            Some(value) => {
                errors.at(value, format_args!("`{}` takes no value", self.key));
                None
            }
        }
    }

    pub(super) fn text(&self, errors: &mut Errors) -> Option<LitStr> {
        let value = self.value.clone().filter(|value| !value.is_empty());
        let culprit = value.clone().unwrap_or_else(|| self.key.to_token_stream());
        match value.map(syn::parse2::<LitStr>) {
            Some(Ok(text)) => Some(text),
            _ => {
                errors.at(culprit, format_args!("expected a string: `{} = \"...\"`", self.key));
                None
            }
        }
    }

    /// No value, or the name of a type.
    pub(super) fn name(&self, errors: &mut Errors) -> Option<Option<Ident>> {
        let Some(value) = &self.value else { return Some(None) };
        let name = syn::parse2::<LitStr>(value.clone()).and_then(|text| text.parse::<Ident>());
        match name {
            Ok(name) => Some(Some(name)),
            Err(_) => {
                let key = &self.key;
                let culprit = if value.is_empty() { key.to_token_stream() } else { value.clone() };
                let text = "takes no value, or the name of the enum as a string";
                errors.at(culprit, format_args!("`{key}` {text}: `{key} = \"...\"`"));
                None
            }
        }
    }

    /// A share of the learning rate: a number, or an expression that the compiler checks.
    pub(super) fn share(&self, errors: &mut Errors) -> Option<Expr> {
        let value = self.value.clone().filter(|value| !value.is_empty());
        let culprit = value.clone().unwrap_or_else(|| self.key.to_token_stream());
        let expected = |errors: &mut Errors| {
            errors.at(&culprit, format_args!("expected a number: `{} = 0.1`", self.key));
            None
        };
        let expr = match value.map(syn::parse2::<Expr>) {
            // A value in parentheses, as in `lr(0.1)`, is not an assignment.
            Some(Ok(Expr::Paren(_))) | Some(Err(_)) | None => return expected(errors),
            Some(Ok(expr)) => expr,
        };
        let number = match &expr {
            Expr::Lit(ExprLit { lit: Lit::Float(lit), .. }) => lit.base10_digits().parse().ok(),
            Expr::Lit(ExprLit { lit: Lit::Int(lit), .. }) => lit.base10_digits().parse().ok(),
            Expr::Lit(_) => return expected(errors),
            Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr: inner, .. })
                if matches!(&**inner, Expr::Lit(_)) =>
            {
                Some(-1.0)
            }
            _ => return Some(expr),
        };
        match number {
            Some(number) if f64::is_finite(number) && number >= 0.0 => {
                let mut literal = Literal::f64_suffixed(number);
                literal.set_span(syn::spanned::Spanned::span(&expr));
                Some(parse_quote_spanned!(literal.span()=> #literal))
            }
            _ => {
                errors.at(&expr, "`lr` must be a finite number of at least 0");
                None
            }
        }
    }

    /// Reports a key that is not allowed here, or is unknown.
    pub(super) fn refuse(&self, place: Place, errors: &mut Errors) {
        let key = self.key.to_string();
        match home(&key) {
            Some(home) => {
                let text = format!("`{key}` belongs {home}, not on {}", place.word());
                errors.at(&self.key, text);
            }
            None => errors.at(&self.key, unknown(&key, place)),
        }
    }
}

/// The items of every `#[freeze(..)]` in order. An error in one does not hide errors in the next.
pub(super) fn items(attrs: &[Attribute], place: Place, errors: &mut Errors) -> Vec<Item> {
    let mut items = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("freeze")) {
        let list = match &attr.meta {
            Meta::List(list) if !list.tokens.is_empty() => list,
            meta => {
                let like = place.keys().first().copied().unwrap_or("skip");
                errors.at(meta, format_args!("expected a key in parentheses: `#[freeze({like})]`"));
                continue;
            }
        };
        for piece in pieces(list.tokens.clone()) {
            match item(&piece, items.len()) {
                Ok(item) => items.push(item),
                Err(culprit) => errors.at(
                    culprit,
                    "expected a key such as `skip` or `rename = \"...\"`, separated by commas",
                ),
            }
        }
    }
    items
}

/// The tokens between commas; a trailing comma is fine.
fn pieces(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut pieces = vec![Vec::new()];
    for token in tokens {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => {
                // For an empty piece the comma is underlined.
                if let Some(piece) = pieces.last_mut()
                    && piece.is_empty()
                {
                    piece.push(token);
                }
                pieces.push(Vec::new());
            }
            _ => {
                if let Some(piece) = pieces.last_mut() {
                    piece.push(token);
                }
            }
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// `key`, `key = value` or `key(value)`; the error is the tokens to underline.
fn item(piece: &[TokenTree], rank: usize) -> Result<Item, TokenStream> {
    let collect = |tokens: &[TokenTree]| tokens.iter().cloned().collect::<TokenStream>();
    let value = match &piece[1..] {
        [] => None,
        [TokenTree::Punct(punct), value @ ..] if punct.as_char() == '=' => Some(collect(value)),
        [TokenTree::Group(group)] if group.delimiter() != Delimiter::None => {
            Some(group.to_token_stream())
        }
        rest => return Err(collect(rest)),
    };
    match &piece[0] {
        TokenTree::Ident(key) => Ok(Item { rank, key: key.clone(), value }),
        _ => Err(collect(piece)),
    }
}
