//! What the expander is given: a model without faults, every choice made.

use syn::{DeriveInput, Expr, Ident, Member, Path, Type, WherePredicate};

use crate::stages::Stages;

/// A checked input.
pub(crate) struct Model<'a> {
    pub(crate) input: &'a DeriveInput,
    /// Where freeze_core is found.
    pub(crate) krate: Path,
    /// The type's name, for people to read.
    pub(crate) kind: String,
    pub(crate) grain: Grain,
    pub(crate) bounds: Bounds,
    /// What is declared of the whole type.
    pub(crate) declared: Option<Declared>,
    pub(crate) body: Body<'a>,
    /// What `stages` asks for.
    pub(crate) stages: Option<Stages<'a>>,
}

/// How finely a type or a field freezes.
pub(crate) enum Grain {
    /// Each of its leaves by itself.
    Leaves,
    /// As one leaf.
    Unit,
}

/// Where the impl's additional predicates come from.
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
    /// The type in the user's own tokens: what the compiler says about it underlines them.
    pub(crate) ty: &'a Type,
    pub(crate) role: Role,
    pub(crate) declared: Option<Declared>,
}

/// What is said about how a field or a type trains.
pub(crate) struct Declared {
    /// Tells the declarations of one type apart; that of the type itself is 0.
    pub(crate) index: usize,
    pub(crate) frozen: bool,
    pub(crate) always: bool,
    pub(crate) lr: Option<Expr>,
    pub(crate) no_decay: bool,
}

/// What a field is to the model.
pub(crate) enum Role {
    /// No leaf; cloned.
    Skipped,
    /// A layer or a group of layers.
    Part(Segment),
    /// The same as one leaf, of the given kind.
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
    /// Gives each declaration a number of its own.
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

    /// The number of fields of the variant that has most; a struct's are never bound.
    pub(crate) fn most_fields(&self) -> usize {
        match self {
            Self::Struct(_) => 0,
            Self::Enum(variants) => {
                variants.iter().map(|variant| variant.fields.len()).max().unwrap_or(0)
            }
        }
    }
}
