//! The checked model that `expand` gets.

use syn::{DeriveInput, Expr, Ident, Member, Path, Type, WherePredicate};

use crate::stages::Stages;

/// A checked input.
pub(crate) struct Model<'a> {
    pub(crate) input: &'a DeriveInput,
    /// The path of freeze_core.
    pub(crate) krate: Path,
    /// The type's name, for display.
    pub(crate) kind: String,
    pub(crate) grain: Grain,
    pub(crate) bounds: Bounds,
    /// The training attributes of the whole type.
    pub(crate) declared: Option<Declared>,
    pub(crate) body: Body<'a>,
    /// The stages, if `stages` is set.
    pub(crate) stages: Option<Stages<'a>>,
}

/// Whether a type or a field freezes leaf by leaf or as a whole.
pub(crate) enum Grain {
    /// Each of its leaves on its own.
    Leaves,
    /// As one leaf.
    Unit,
}

/// The source of the impl's additional predicates.
pub(crate) enum Bounds {
    /// The types of the fields.
    Inferred,
    /// `bound = ".."`.
    Given(Vec<WherePredicate>),
}

pub(crate) enum Body<'a> {
    Struct(Vec<Field<'a>>),
    Enum(Vec<Variant<'a>>),
}

pub(crate) struct Variant<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) fields: Vec<Field<'a>>,
}

pub(crate) struct Field<'a> {
    pub(crate) member: Member,
    /// The type in the user's own tokens, which compiler errors then underline.
    pub(crate) ty: &'a Type,
    pub(crate) role: Role,
    pub(crate) declared: Option<Declared>,
}

/// The training attributes of a field or a type.
pub(crate) struct Declared {
    /// The index among the declarations of one type; that of the type itself is 0.
    pub(crate) index: usize,
    pub(crate) frozen: bool,
    pub(crate) always: bool,
    pub(crate) lr: Option<Expr>,
    pub(crate) no_decay: bool,
}

/// The role of a field in the model.
pub(crate) enum Role {
    /// No leaf; cloned.
    Skipped,
    /// A layer or a group of layers.
    Part(Segment),
    /// A layer or a group that is one leaf, of the given kind.
    Unit(Segment, String),
    /// A bare tensor.
    Param(Segment),
}

/// What a field adds to the path.
pub(crate) enum Segment {
    Name(String),
    /// Nothing: the field of a one-field tuple variant.
    Transparent,
}

impl Body<'_> {
    /// Numbers the declarations.
    pub(crate) fn number_declarations(&mut self) {
        let fields: Vec<&mut Field<'_>> = match self {
            Self::Struct(fields) => fields.iter_mut().collect(),
            Self::Enum(variants) => {
                variants.iter_mut().flat_map(|variant| &mut variant.fields).collect()
            }
        };
        let declared = fields.into_iter().filter_map(|field| field.declared.as_mut());
        declared.zip(1..).for_each(|(declared, index)| declared.index = index);
    }

    /// All fields, those of every variant, in declaration order.
    pub(crate) fn fields(&self) -> Vec<&Field<'_>> {
        match self {
            Self::Struct(fields) => fields.iter().collect(),
            Self::Enum(variants) => variants.iter().flat_map(|variant| &variant.fields).collect(),
        }
    }

    /// The largest number of fields of a variant. Fields of a struct are not bound to names.
    pub(crate) fn most_fields(&self) -> usize {
        match self {
            Self::Struct(_) => 0,
            Self::Enum(variants) => {
                variants.iter().map(|variant| variant.fields.len()).max().unwrap_or(0)
            }
        }
    }
}
