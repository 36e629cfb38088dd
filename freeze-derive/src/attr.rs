//! The grammar of `#[freeze(..)]`: comma-separated keys, some with a value; one slot for each key.

mod item;
mod place;

use proc_macro2::Ident;
use syn::{Attribute, Expr, LitStr};

use crate::errors::Errors;

use item::{Item, items};
pub(crate) use place::Place;

/// The attributes of a field.
#[derive(Default)]
pub(crate) struct FieldAttrs {
    pub(crate) skip: Slot<()>,
    pub(crate) param: Slot<()>,
    pub(crate) rename: Slot<LitStr>,
    pub(crate) unit: Slot<()>,
    pub(crate) no_stage: Slot<()>,
    pub(crate) training: TrainingAttrs,
}

/// The attributes of the struct or enum.
#[derive(Default)]
pub(crate) struct TypeAttrs {
    pub(crate) unit: Slot<()>,
    /// The name of the enum, if one was given.
    pub(crate) stages: Slot<Option<Ident>>,
    pub(crate) krate: Slot<LitStr>,
    pub(crate) bound: Slot<LitStr>,
    pub(crate) training: TrainingAttrs,
}

/// The attributes of a struct that derives `Flow`.
#[derive(Default)]
pub(crate) struct FlowAttrs {
    pub(crate) krate: Slot<LitStr>,
}

/// The attributes of how the field or the type trains.
#[derive(Default)]
pub(crate) struct TrainingAttrs {
    pub(crate) frozen: Slot<()>,
    pub(crate) always: Slot<()>,
    pub(crate) lr: Slot<Expr>,
    pub(crate) no_decay: Slot<()>,
}

impl FieldAttrs {
    pub(crate) fn read(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let mut read = Self::default();
        for item in items(attrs, Place::Field, errors) {
            match item.key.to_string().as_str() {
                "skip" => read.skip.fill(&item, Item::flag, errors),
                "param" => read.param.fill(&item, Item::flag, errors),
                "rename" => read.rename.fill(&item, Item::text, errors),
                "unit" => read.unit.fill(&item, Item::flag, errors),
                "no_stage" => read.no_stage.fill(&item, Item::flag, errors),
                key => read.training.fill(key, &item, Place::Field, errors),
            }
        }
        read
    }
}

impl TypeAttrs {
    pub(crate) fn read(attrs: &[Attribute], place: Place, errors: &mut Errors) -> Self {
        let mut read = Self::default();
        for item in items(attrs, place, errors) {
            match item.key.to_string().as_str() {
                "unit" => read.unit.fill(&item, Item::flag, errors),
                "stages" => read.stages.fill(&item, Item::name, errors),
                "crate" => read.krate.fill(&item, Item::text, errors),
                "bound" => read.bound.fill(&item, Item::text, errors),
                key => read.training.fill(key, &item, place, errors),
            }
        }
        read
    }
}

impl FlowAttrs {
    pub(crate) fn read(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let mut read = Self::default();
        for item in items(attrs, Place::Struct, errors) {
            match item.key.to_string().as_str() {
                "crate" => read.krate.fill(&item, Item::text, errors),
                _ => refuse_in_a_flow(&item, errors),
            }
        }
        read
    }

    /// An error for any attribute on a field of a flow.
    pub(crate) fn refuse(attrs: &[Attribute], errors: &mut Errors) {
        for item in items(attrs, Place::Field, errors) {
            refuse_in_a_flow(&item, errors);
        }
    }
}

fn refuse_in_a_flow(item: &Item, errors: &mut Errors) {
    let text = "says nothing of what flows: `#[derive(Flow)]` knows `crate` alone, on the struct";
    errors.at(&item.key, format_args!("`{}` {text}", item.key));
}

impl TrainingAttrs {
    fn fill(&mut self, key: &str, item: &Item, place: Place, errors: &mut Errors) {
        match key {
            "frozen" => self.frozen.fill(item, Item::flag, errors),
            "always" => self.always.fill(item, Item::flag, errors),
            "lr" => self.lr.fill(item, Item::share, errors),
            "no_decay" => self.no_decay.fill(item, Item::flag, errors),
            _ => item.refuse(place, errors),
        }
    }
}

/// An error for any attribute on a variant.
pub(crate) fn refuse_on_variant(attrs: &[Attribute], errors: &mut Errors) {
    for item in items(attrs, Place::Variant, errors) {
        item.refuse(Place::Variant, errors);
    }
}

/// The value of one key, filled once.
pub(crate) struct Slot<T> {
    key: Option<(usize, Ident)>,
    value: Option<T>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { key: None, value: None }
    }
}

impl<T> Slot<T> {
    /// The key and its index among the keys at the same place, if it was written.
    pub(crate) fn key(&self) -> Option<&(usize, Ident)> {
        self.key.as_ref()
    }

    /// The value, if it is valid.
    pub(crate) fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    fn fill(
        &mut self,
        item: &Item,
        read: fn(&Item, &mut Errors) -> Option<T>,
        errors: &mut Errors,
    ) {
        let value = read(item, errors);
        if self.key.is_some() {
            errors.at(&item.key, format_args!("duplicate freeze attribute `{}`", item.key));
            return;
        }
        self.key = Some((item.rank, item.key.clone()));
        self.value = value;
    }
}
