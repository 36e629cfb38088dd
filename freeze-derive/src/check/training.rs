//! The rules about the attributes of training.

use syn::ext::IdentExt as _;

use crate::attr::TrainingAttrs;
use crate::errors::Errors;
use crate::model::Declared;
use crate::parse::{Parsed, ParsedBody, ParsedField};

/// The attributes declared here, if there are any.
pub(super) fn declared(attrs: &TrainingAttrs, errors: &mut Errors) -> Option<Declared> {
    let (frozen, always, lr) = (attrs.frozen.key(), attrs.always.key(), attrs.lr.key());
    errors.conflict(frozen, always, "frozen from the start is not trained always");
    errors.conflict(frozen, lr, "what is frozen has no learning rate");
    let declared = Declared {
        index: 0,
        frozen: attrs.frozen.value().is_some(),
        always: attrs.always.value().is_some(),
        lr: attrs.lr.value().cloned(),
        no_decay: attrs.no_decay.value().is_some(),
    };
    let says_something =
        declared.frozen || declared.always || declared.lr.is_some() || declared.no_decay;
    says_something.then_some(declared)
}

/// An error on a skipped field, which has nothing to train.
pub(super) fn is_of_a_leaf(field: &ParsedField<'_>, errors: &mut Errors) {
    let (skip, training) = (field.attrs.skip.key(), &field.attrs.training);
    for key in
        [training.frozen.key(), training.always.key(), training.lr.key(), training.no_decay.key()]
    {
        errors.conflict(skip, key, "a skipped field has no leaf");
    }
}

/// An error inside a unit, which is one leaf: its parts do not freeze on their own.
pub(super) fn is_not_within_a_unit(parsed: &Parsed<'_>, errors: &mut Errors) {
    if parsed.attrs.unit.key().is_none() {
        return;
    }
    for field in parsed.body.fields() {
        let training = &field.attrs.training;
        for (_, key) in
            [training.frozen.key(), training.always.key(), training.lr.key()].into_iter().flatten()
        {
            let text = "has no effect on a field of a unit, which freezes as one leaf; put it on the \
                        type";
            errors.at(key, format_args!("`{key}` {text}"));
        }
    }
}

/// An error if all fields of a struct are frozen: the attribute should be on the struct.
pub(super) fn is_not_all_frozen(parsed: &Parsed<'_>, errors: &mut Errors) {
    let ParsedBody::Struct(fields) = &parsed.body else { return };
    let kept = || fields.iter().filter(|field| field.attrs.skip.key().is_none());
    let is_frozen = |field: &ParsedField<'_>| field.attrs.training.frozen.key().is_some();
    if kept().next().is_some() && kept().all(is_frozen) {
        let name = &parsed.input.ident;
        let text = "is frozen: put `#[freeze(frozen)]` on the struct, or leave a field to train";
        errors.at(name, format_args!("every field of `{}` {text}", name.unraw()));
    }
}
