//! The grammar of `#[freeze(..)]`: comma-separated keys, some with a string; one slot for each key.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, LitStr, Meta};

use crate::errors::Errors;

/// What was written on a field.
#[derive(Default)]
pub(crate) struct FieldAttrs {
    pub(crate) skip: Slot<()>,
    pub(crate) param: Slot<()>,
    pub(crate) rename: Slot<LitStr>,
    pub(crate) unit: Slot<()>,
}

/// What was written on the struct or enum.
#[derive(Default)]
pub(crate) struct TypeAttrs {
    pub(crate) unit: Slot<()>,
    pub(crate) krate: Slot<LitStr>,
    pub(crate) bound: Slot<LitStr>,
}

impl FieldAttrs {
    pub(crate) fn read(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let mut read = Self::default();
        for item in items(attrs, Place::Field, errors) {
            match item.key.to_string().as_str() {
                "skip" => read.skip.fill(&item, Item::flag, errors),
                "param" => read.param.fill(&item, Item::flag, errors),
                "rename" => read.rename.fill(&item, Item::text, errors),
                "unit" => read.unit.fill(&item, Item::flag, errors),
                _ => item.refuse(Place::Field, errors),
            }
        }
        read
    }
}

impl TypeAttrs {
    pub(crate) fn read(attrs: &[Attribute], place: Place, errors: &mut Errors) -> Self {
        let mut read = Self::default();
        for item in items(attrs, place, errors) {
            match item.key.to_string().as_str() {
                "unit" => read.unit.fill(&item, Item::flag, errors),
                "crate" => read.krate.fill(&item, Item::text, errors),
                "bound" => read.bound.fill(&item, Item::text, errors),
                _ => item.refuse(place, errors),
            }
        }
        read
    }
}

/// A variant takes no attribute: refuses whatever is there.
pub(crate) fn refuse_on_variant(attrs: &[Attribute], errors: &mut Errors) {
    for item in items(attrs, Place::Variant, errors) {
        item.refuse(Place::Variant, errors);
    }
}

/// The thing that an attribute stands on.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Place {
    Struct,
    Enum,
    Union,
    Variant,
    Field,
}

impl Place {
    fn word(self) -> &'static str {
        match self {
            Self::Struct => "a struct",
            Self::Enum => "an enum",
            Self::Union => "a union",
            Self::Variant => "a variant",
            Self::Field => "a field",
        }
    }

    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Struct | Self::Enum | Self::Union => &["unit", "crate", "bound"],
            Self::Variant => &[],
            Self::Field => &["skip", "param", "rename", "unit"],
        }
    }
}

/// The value of one key, filled once.
pub(crate) struct Slot<T> {
    key: Option<(usize, Ident)>,
    value: Option<T>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { key: None, value: None }
    }
}

impl<T> Slot<T> {
    /// The key and its rank among the keys of the same place, if it was written at all.
    pub(crate) fn key(&self) -> Option<&(usize, Ident)> {
        self.key.as_ref()
    }

    /// The value, if it was written well.
    pub(crate) fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    fn fill(
        &mut self,
        item: &Item,
        read: fn(&Item, &mut Errors) -> Option<T>,
        errors: &mut Errors,
    ) {
        let value = read(item, errors);
        if self.key.is_some() {
            errors.at(&item.key, format_args!("duplicate freeze attribute `{}`", item.key));
            return;
        }
        self.key = Some((item.rank, item.key.clone()));
        self.value = value;
    }
}

/// One `key` or `key = value`.
struct Item {
    rank: usize,
    key: Ident,
    value: Option<TokenStream>,
}

impl Item {
    fn flag(&self, errors: &mut Errors) -> Option<()> {
        match &self.value {
            None => Some(()),
            Some(value) => {
                errors.at(value, format_args!("`{}` takes no value", self.key));
                None
            }
        }
    }

    fn text(&self, errors: &mut Errors) -> Option<LitStr> {
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

    /// A key that does not belong where it stands, or is none at all.
    fn refuse(&self, place: Place, errors: &mut Errors) {
        let key = self.key.to_string();
        let on_field = Place::Field.keys().contains(&key.as_str());
        let on_type = Place::Struct.keys().contains(&key.as_str());
        let home = match (on_field, on_type) {
            (true, true) => "on a field or on the type",
            (true, false) => "on a field",
            (false, true) => "on the type",
            (false, false) => return errors.at(&self.key, unknown(&key, place)),
        };
        errors.at(&self.key, format_args!("`{key}` belongs {home}, not on {}", place.word()));
    }
}

fn unknown(key: &str, place: Place) -> String {
    if place.keys().is_empty() {
        return format!("unknown freeze attribute `{key}`: {} takes none", place.word());
    }
    let near = place.keys().iter().map(|known| (strsim::jaro_winkler(key, known), known));
    let hint = match near.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, known)) if score > 0.7 => format!("; did you mean `{known}`?"),
        _ => String::new(),
    };
    let known: Vec<String> = place.keys().iter().map(|known| format!("`{known}`")).collect();
    format!("unknown freeze attribute `{key}`, expected one of {}{hint}", known.join(", "))
}

/// The items of every `#[freeze(..)]` in order. A fault in one does not hide the next.
fn items(attrs: &[Attribute], place: Place, errors: &mut Errors) -> Vec<Item> {
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
                // The comma itself is the culprit of an empty piece.
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

/// `key`, `key = value` or `key(value)`; on a fault, the tokens to underline.
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
