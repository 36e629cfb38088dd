//! The variant name of a field, and the lists in its type.

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt as _;
use syn::{GenericArgument, PathArguments, PathSegment, Type};

/// The variant of the field called `field`: its name in camel case.
pub(super) fn name(field: &Ident) -> Ident {
    let name = field.unraw().to_string();
    let mut camel = String::new();
    for word in name.split('_').filter(|word| !word.is_empty()) {
        let is_digit = |sign: Option<char>| sign.is_some_and(|sign| sign.is_ascii_digit());
        if is_digit(camel.chars().last()) && is_digit(word.chars().next()) {
            camel.push('_'); // conv1_1 and conv11 are two
        }
        let mut signs = word.chars();
        camel.extend(signs.next().into_iter().flat_map(char::to_uppercase).chain(signs));
    }
    if camel.is_empty() || camel.starts_with(|sign: char| sign.is_ascii_digit()) {
        camel.insert(0, '_');
    }
    if camel == "Self" {
        camel.push('_');
    }
    // The span is at the user's field, where the compiler points for a forgotten stage, but
    // resolves as the macro's, so that style lints ignore it.
    Ident::new(&camel, Span::call_site().located_at(field.span()))
}

/// The lists that a type is written as, the outermost first, and the type of their items.
///
/// The variant is written before any type is known, so the syntax decides; the output then has the
/// compiler check that it is a list.
pub(super) fn lists(ty: &Type) -> (Vec<&Type>, &Type) {
    let (mut lists, mut item) = (Vec::new(), ty);
    while let Some(inside) = item_of(item) {
        lists.push(item);
        item = inside;
    }
    (lists, item)
}

fn item_of(ty: &Type) -> Option<&Type> {
    match ty {
        Type::Group(group) => item_of(&group.elem),
        Type::Paren(paren) => item_of(&paren.elem),
        Type::Array(array) => Some(&array.elem),
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            let inside = argument(last)?;
            match (last.ident.to_string().as_str(), inside) {
                ("Vec" | "VecDeque", item) => Some(item),
                ("Box", Type::Slice(slice)) => Some(&slice.elem),
                ("Option" | "Box" | "Rc" | "Arc", inside) => item_of(inside),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The only type argument of a path's last segment.
fn argument(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(ty) if arguments.args.len() == 1 => Some(ty),
        _ => None,
    }
}

/// Whether a type is written as a map, or as a pointer to one.
pub(super) fn is_map(ty: &Type) -> bool {
    match ty {
        Type::Group(group) => is_map(&group.elem),
        Type::Paren(paren) => is_map(&paren.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            let is_around = ["Option", "Box", "Rc", "Arc"].iter().any(|name| last.ident == name);
            last.ident == "BTreeMap"
                || last.ident == "HashMap"
                || (is_around && argument(last).is_some_and(is_map))
        }),
        _ => false,
    }
}
