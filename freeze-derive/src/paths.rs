//! No two fields have leaves of the same path.

use syn::Member;
use syn::ext::IdentExt as _;

use crate::errors::Errors;
use crate::parse::ParsedField;

/// Reports two parts of a group of which one's path is the beginning of the other's, because paths identify
/// leaves.
pub(crate) fn paths_differ(fields: &[ParsedField<'_>], errors: &mut Errors) {
    let mut owners: Vec<(String, &Member)> = Vec::new();
    let kept = || fields.iter().filter(|field| field.attrs.skip.key().is_none());
    // Fields without `rename` first, so that the error is at the renamed field, whatever their
    // order.
    for field in kept().filter(|field| field.attrs.rename.value().is_none()) {
        owners.push((segment(field), &field.member));
    }
    for field in kept() {
        let Some(literal) = field.attrs.rename.value() else { continue };
        let name = literal.value();
        let taken = owners.iter().find(|(other, _)| leads(other, &name) || leads(&name, other));
        match taken {
            Some((other, owner)) if *other == name => {
                let owner = member_name(owner);
                let text = format_args!("the name `{name}` is already taken by field `{owner}`");
                errors.at(literal, text);
            }
            Some((other, owner)) => {
                let (inner, outer) =
                    if leads(other, &name) { (&name, other) } else { (other, &name) };
                let owner = member_name(owner);
                let text = format_args!(
                    "`{inner}` lies below `{outer}`, so it and field `{owner}` could have leaves of the \
                     same path"
                );
                errors.at(literal, text);
            }
            None => owners.push((name, &field.member)),
        }
    }
}

/// Whether `path` begins with all segments of `outer`.
fn leads(outer: &str, path: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The path of a field within its struct.
pub(crate) fn segment(field: &ParsedField<'_>) -> String {
    match field.attrs.rename.value() {
        Some(name) => name.value(),
        None => member_name(&field.member),
    }
}

/// The field's name, or its number in a tuple.
pub(crate) fn member_name(member: &Member) -> String {
    match member {
        Member::Named(ident) => ident.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    }
}
