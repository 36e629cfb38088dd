//! The enum of a struct's stages, and its `impl Stages`.

mod check;
mod expand;
mod variant;

pub(crate) use check::check;
pub(crate) use expand::{expand, silent};

use proc_macro2::Ident;
use syn::{Member, Type};

/// The stages of a struct: one variant for each of its fields, but those that are none.
pub(crate) struct Stages<'a> {
    /// The enum's name.
    pub(crate) name: Ident,
    pub(crate) variants: Vec<Variant<'a>>,
}

pub(crate) struct Variant<'a> {
    pub(crate) ident: Ident,
    pub(crate) member: Member,
    /// The field's segment of the path.
    pub(crate) segment: String,
    pub(crate) ty: &'a Type,
    /// The types of the lists that the field is, the outermost first: an index each.
    pub(crate) lists: Vec<&'a Type>,
    /// The field is a bare tensor, or several.
    pub(crate) is_param: bool,
}
