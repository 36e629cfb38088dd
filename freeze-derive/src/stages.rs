//! The enum of a struct's stages, and its `impl Stages`.

mod check;
mod expand;
mod variant;

pub(crate) use check::check;
pub(crate) use expand::{expand, silent};

use proc_macro2::Ident;
use syn::{Member, Type};

/// The stages of a struct: one variant for each field that is a stage.
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
    /// The list types of the field, the outermost first; each adds an index.
    pub(crate) lists: Vec<&'a Type>,
    /// Whether the field is a bare tensor, or several.
    pub(crate) is_param: bool,
}
