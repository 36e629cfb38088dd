//! The rules about stages, one function each.

use std::collections::HashMap;

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt as _;
use syn::{Data, Fields, Member};

use super::{Stages, Variant, variant};
use crate::errors::Errors;
use crate::parse::{Parsed, ParsedBody, ParsedField};

/// The stages of the input, if `stages` is set.
pub(crate) fn check<'a>(parsed: &Parsed<'a>, errors: &mut Errors) -> Option<Stages<'a>> {
    opting_out_has_an_effect(parsed, errors);
    let (_, key) = parsed.attrs.stages.key()?;
    let fields: &[ParsedField<'a>] = match &parsed.body {
        ParsedBody::Struct(fields) => fields,
        ParsedBody::Enum(_) => {
            let text = "`stages` belongs on a struct, not on an enum: a value of an enum is one stage, \
                        of the struct that holds it";
            errors.at(key, text);
            &[]
        }
        ParsedBody::Union(_) => &[],
    };
    fields_have_names(parsed, key, errors);
    is_no_unit(parsed, errors);
    has_a_stage(parsed, fields, errors);
    let stages = fields.iter().filter(|field| is_stage(field));
    let variants: Vec<Variant<'a>> = stages.filter_map(|field| of_field(field, errors)).collect();
    let variants = variants_differ(variants, errors);
    Some(Stages { name: name(parsed), variants })
}

fn is_stage(field: &ParsedField<'_>) -> bool {
    field.attrs.skip.key().is_none() && field.attrs.no_stage.key().is_none()
}

fn name(parsed: &Parsed<'_>) -> Ident {
    let own = &parsed.input.ident;
    match parsed.attrs.stages.value() {
        Some(Some(name)) => name.clone(),
        _ => {
            let span = Span::call_site().located_at(own.span());
            Ident::new(&format!("{}Stage", own.unraw()), span)
        }
    }
}

fn of_field<'a>(field: &ParsedField<'a>, errors: &mut Errors) -> Option<Variant<'a>> {
    let ident = field.field.ident.as_ref()?;
    let attrs = &field.attrs;
    // A single leaf is one stage, because there is no boundary inside it.
    let is_leaf = attrs.unit.key().is_some() || attrs.param.key().is_some();
    let (lists, item) = match is_leaf {
        true => (Vec::new(), &field.field.ty),
        false => variant::lists(&field.field.ty),
    };
    if !is_leaf && variant::is_map(item) {
        let text = "a map is in the order of its keys, stages are in that of the forward: hold a `Vec` \
                    of them, or a struct around the map, which is one stage";
        errors.at(item, text);
    }
    let segment = match attrs.rename.value() {
        Some(name) => name.value(),
        None => ident.unraw().to_string(),
    };
    Some(Variant {
        ident: variant::name(ident),
        member: field.member.clone(),
        segment,
        ty: &field.field.ty,
        lists,
        is_param: attrs.param.key().is_some(),
    })
}

/// An error for fields without names, because stages are named after fields.
fn fields_have_names(parsed: &Parsed<'_>, key: &Ident, errors: &mut Errors) {
    if let Data::Struct(data) = &parsed.input.data
        && matches!(&data.fields, Fields::Unnamed(fields) if !fields.unnamed.is_empty())
    {
        let name = parsed.input.ident.unraw();
        let text = "are called by the names of fields, which a tuple struct has none of: write";
        errors.at(key, format_args!("stages {text} `struct {name} {{ stem: .., head: .. }}`"));
    }
}

/// An error for a unit, which is one leaf and has no stages.
fn is_no_unit(parsed: &Parsed<'_>, errors: &mut Errors) {
    let (unit, stages) = (parsed.attrs.unit.key(), parsed.attrs.stages.key());
    errors.conflict(unit, stages, "a unit is one leaf, which has no boundary in it");
}

fn has_a_stage(parsed: &Parsed<'_>, fields: &[ParsedField<'_>], errors: &mut Errors) {
    let has_leaves = fields.iter().any(|field| field.attrs.skip.key().is_none());
    if has_leaves && !fields.iter().any(is_stage) {
        let name = &parsed.input.ident;
        let text = "has no stage: each of its fields is `skip` or `no_stage`";
        errors.at(name, format_args!("`{}` {text}", name.unraw()));
    }
}

/// An error for `no_stage` on a type without stages.
fn opting_out_has_an_effect(parsed: &Parsed<'_>, errors: &mut Errors) {
    for field in parsed.body.fields() {
        let (no_stage, skip) = (field.attrs.no_stage.key(), field.attrs.skip.key());
        errors.conflict(skip, no_stage, "a skipped field is no stage");
        if let (Some((_, key)), None) = (no_stage, parsed.attrs.stages.key()) {
            let text = "`no_stage` has no effect without `#[freeze(stages)]` on the struct";
            errors.at(key, text);
        }
    }
}

/// The variants without those whose name is already taken, which are errors.
fn variants_differ<'a>(variants: Vec<Variant<'a>>, errors: &mut Errors) -> Vec<Variant<'a>> {
    let mut owners: HashMap<String, Member> = HashMap::new();
    let mut kept = Vec::new();
    for variant in variants {
        let Member::Named(field) = &variant.member else { continue };
        if let Some(Member::Named(owner)) = owners.get(&variant.ident.to_string()) {
            let (stage, owner) = (&variant.ident, owner.unraw());
            let text = "are both the stage";
            let names = format!("`{owner}` and `{}`", field.unraw());
            errors.at(field, format_args!("the fields {names} {text} `{stage}`: rename one"));
            continue;
        }
        owners.insert(variant.ident.to_string(), variant.member.clone());
        kept.push(variant);
    }
    kept
}
