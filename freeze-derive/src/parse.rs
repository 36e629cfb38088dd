//! First stage: reads the input and its attributes, without checks.

use syn::{Data, DeriveInput, Field, Fields, Member, Token, Variant};

use crate::attr::{FieldAttrs, Place, TypeAttrs, refuse_on_variant};
use crate::errors::Errors;

/// The input as it was written. It borrows, so that every later error has its span.
pub(crate) struct Parsed<'a> {
    pub(crate) input: &'a DeriveInput,
    pub(crate) attrs: TypeAttrs,
    pub(crate) body: ParsedBody<'a>,
}

pub(crate) enum ParsedBody<'a> {
    Struct(Vec<ParsedField<'a>>),
    Enum(Vec<ParsedVariant<'a>>),
    Union(Token![union]),
}

pub(crate) struct ParsedVariant<'a> {
    pub(crate) variant: &'a Variant,
    pub(crate) fields: Vec<ParsedField<'a>>,
}

pub(crate) struct ParsedField<'a> {
    pub(crate) field: &'a Field,
    pub(crate) member: Member,
    pub(crate) attrs: FieldAttrs,
}

impl<'a> ParsedBody<'a> {
    /// All fields, those of every variant, in declaration order.
    pub(crate) fn fields(&self) -> Vec<&ParsedField<'a>> {
        match self {
            Self::Struct(fields) => fields.iter().collect(),
            Self::Enum(variants) => variants.iter().flat_map(|variant| &variant.fields).collect(),
            Self::Union(_) => Vec::new(),
        }
    }
}

/// Reads the whole input; errors in its attributes go to `errors`.
pub(crate) fn parse<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Parsed<'a> {
    let place = match &input.data {
        Data::Struct(_) => Place::Struct,
        Data::Enum(_) => Place::Enum,
        Data::Union(_) => Place::Union,
    };
    let attrs = TypeAttrs::read(&input.attrs, place, errors);
    let body = match &input.data {
        Data::Struct(data) => ParsedBody::Struct(fields(&data.fields, errors)),
        Data::Enum(data) => {
            let variant = |variant| parse_variant(variant, errors);
            ParsedBody::Enum(data.variants.iter().map(variant).collect())
        }
        Data::Union(data) => ParsedBody::Union(data.union_token),
    };
    Parsed { input, attrs, body }
}

fn parse_variant<'a>(variant: &'a Variant, errors: &mut Errors) -> ParsedVariant<'a> {
    refuse_on_variant(&variant.attrs, errors);
    ParsedVariant { variant, fields: fields(&variant.fields, errors) }
}

fn fields<'a>(fields: &'a Fields, errors: &mut Errors) -> Vec<ParsedField<'a>> {
    let field = |(member, field): (Member, &'a Field)| {
        if let Err(error) = field.modifiers.require_empty() {
            errors.add(error);
        }
        ParsedField { field, member, attrs: FieldAttrs::read(&field.attrs, errors) }
    };
    fields.members().zip(fields).map(field).collect()
}
