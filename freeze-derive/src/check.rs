//! Second stage: the rules about the input, one function each, and the checked model.

mod training;

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt as _;
use syn::punctuated::Punctuated;
use syn::{Fields, LitStr, Path, Token, Type, WherePredicate, parse_quote};

use crate::errors::Errors;
use crate::model::{Body, Bounds, Field, Grain, Model, Role, Segment, Variant};
use crate::parse::{Parsed, ParsedBody, ParsedField, ParsedVariant};
use crate::paths::{paths_differ, segment};
use crate::stages;

/// The checked model, or all faults of the input at once.
pub(crate) fn check<'a>(parsed: &Parsed<'a>, mut errors: Errors) -> syn::Result<Model<'a>> {
    let input = parsed.input;
    let krate = crate_path(parsed.attrs.krate.value(), &mut errors);
    let bounds = bounds(parsed.attrs.bound.value(), &mut errors);
    let mut body = match &parsed.body {
        ParsedBody::Struct(fields) => Body::Struct(check_fields(fields, None, &mut errors)),
        ParsedBody::Enum(variants) => {
            let check = |variant: &ParsedVariant<'a>| check_variant(variant, &mut errors);
            Body::Enum(variants.iter().map(check).collect())
        }
        ParsedBody::Union(token) => {
            let text = "`Freezable` cannot be derived for unions; use a struct or an enum";
            errors.at(token, text);
            Body::Struct(Vec::new())
        }
    };
    has_variants(parsed, &mut errors);
    has_something_to_freeze(parsed, &mut errors);
    training::is_not_within_a_unit(parsed, &mut errors);
    training::is_not_all_frozen(parsed, &mut errors);
    let declared = training::declared(&parsed.attrs.training, &mut errors);
    let stages = stages::check(parsed, &mut errors);
    body.number_declarations();
    let grain = if parsed.attrs.unit.value().is_some() { Grain::Unit } else { Grain::Leaves };
    let kind = input.ident.unraw().to_string();
    errors.finish(|| Model { input, krate, kind, grain, bounds, declared, body, stages })
}

/// The path of freeze_core: that of `crate = ".."` if it can be parsed.
pub(crate) fn crate_path(text: Option<&LitStr>, errors: &mut Errors) -> Path {
    let usual = || parse_quote!(::freeze_core);
    let Some(text) = text else { return usual() };
    match in_output(text).parse_with(Path::parse_mod_style) {
        Ok(path) if path.leading_colon.is_some() || path.segments[0].ident == "crate" => path,
        _ => {
            let like = "`::my_crate::freeze` or `crate::freeze`";
            errors.at(text, format_args!("`crate` must be an absolute path such as {like}"));
            usual()
        }
    }
}

fn bounds(text: Option<&LitStr>, errors: &mut Errors) -> Bounds {
    let Some(text) = text else { return Bounds::Inferred };
    let parser = Punctuated::<WherePredicate, Token![,]>::parse_terminated;
    match in_output(text).parse_with(parser) {
        Ok(predicates) => Bounds::Given(predicates.into_iter().collect()),
        Err(_) => {
            errors.at(text, "`bound` must be where-predicates such as `T: freeze_core::Freezable`");
            Bounds::Inferred
        }
    }
}

/// The same string for the output: it keeps the user's span, but changed so that the compiler makes
/// no suggestions inside the string.
fn in_output(text: &LitStr) -> LitStr {
    let mut text = text.clone();
    text.set_span(Span::call_site().located_at(text.span()));
    text
}

fn has_variants(parsed: &Parsed<'_>, errors: &mut Errors) {
    if matches!(&parsed.body, ParsedBody::Enum(variants) if variants.is_empty()) {
        let name = &parsed.input.ident;
        errors.at(name, format_args!("`{}` has no variants", name.unraw()));
    }
}

fn has_something_to_freeze(parsed: &Parsed<'_>, errors: &mut Errors) {
    let is_kept = |field: &ParsedField<'_>| field.attrs.skip.key().is_none();
    let has_some = match &parsed.body {
        ParsedBody::Struct(fields) => fields.iter().any(is_kept),
        ParsedBody::Enum(variants) => {
            variants.is_empty() || variants.iter().flat_map(|v| &v.fields).any(is_kept)
        }
        ParsedBody::Union(_) => true,
    };
    if !has_some {
        let name = &parsed.input.ident;
        let text = "has no field that can be frozen; a type without layers needs no `Freezable`";
        errors.at(name, format_args!("`{}` {text}", name.unraw()));
    }
}

fn check_variant<'a>(variant: &ParsedVariant<'a>, errors: &mut Errors) -> Variant<'a> {
    let ident = &variant.variant.ident;
    let sole = match &variant.variant.fields {
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => Some(ident),
        _ => None,
    };
    Variant { ident, fields: check_fields(&variant.fields, sole, errors) }
}

/// Checks the fields of a struct or a variant. The only field of a tuple variant `sole` is
/// transparent.
fn check_fields<'a>(
    fields: &[ParsedField<'a>],
    sole: Option<&Ident>,
    errors: &mut Errors,
) -> Vec<Field<'a>> {
    paths_differ(fields, errors);
    let check = |parsed: &ParsedField<'a>| {
        conflicts(parsed, errors);
        training::is_of_a_leaf(parsed, errors);
        rename_is_a_path(parsed, errors);
        if let Some(variant) = sole {
            rename_has_an_effect(parsed, variant, errors);
        }
        let segment = match sole {
            Some(_) => Segment::Transparent,
            None => Segment::Name(segment(parsed)),
        };
        let attrs = &parsed.attrs;
        let role = match (attrs.skip.key(), attrs.param.key(), attrs.unit.key()) {
            (Some(_), ..) => Role::Skipped,
            (None, Some(_), _) => Role::Param(segment),
            (None, None, Some(_)) => Role::Unit(segment, unit_kind(&parsed.field.ty)),
            (None, None, None) => Role::Part(segment),
        };
        let declared = training::declared(&attrs.training, errors);
        Field { member: parsed.member.clone(), ty: &parsed.field.ty, role, declared }
    };
    fields.iter().map(check).collect()
}

fn conflicts(field: &ParsedField<'_>, errors: &mut Errors) {
    let attrs = &field.attrs;
    let (skip, param) = (attrs.skip.key(), attrs.param.key());
    let (rename, unit) = (attrs.rename.key(), attrs.unit.key());
    for (first, second, why) in [
        (skip, param, "a skipped field has no parameter"),
        (skip, rename, "a skipped field has no path"),
        (skip, unit, "a skipped field has no leaf"),
        (param, unit, "a parameter is one leaf already"),
    ] {
        errors.conflict(first, second, why);
    }
}

fn rename_is_a_path(field: &ParsedField<'_>, errors: &mut Errors) {
    let Some(name) = field.attrs.rename.value() else { return };
    if name.value().split('.').any(str::is_empty) {
        errors.at(name, "`rename` must be a name, or several joined by dots, none of them empty");
    }
}

fn rename_has_an_effect(field: &ParsedField<'_>, variant: &Ident, errors: &mut Errors) {
    if let Some((_, key)) = field.attrs.rename.key() {
        let text = "`rename` has no effect: the only field of a tuple variant adds nothing to the \
                    path; write";
        errors.at(key, format_args!("{text} `{variant} {{ name: .. }}` for a segment"));
    }
}

/// The kind of a field that freezes as a whole: its type's name.
fn unit_kind(ty: &Type) -> String {
    match ty {
        Type::Group(group) => unit_kind(&group.elem),
        Type::Paren(paren) => unit_kind(&paren.elem),
        Type::Path(path) => match path.path.segments.last() {
            Some(segment) => segment.ident.unraw().to_string(),
            None => "unit".to_string(),
        },
        Type::Array(_) => "array".to_string(),
        Type::Tuple(_) => "tuple".to_string(),
        _ => "unit".to_string(),
    }
}
