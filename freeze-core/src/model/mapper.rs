//! The visitor that both walks over a model call: it keeps track of where in the model it is.

mod ask;
mod at;
mod paths;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt;

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::model::{BatchNormPolicy, Generator};
use crate::plan::{Declared, FreezePlan, LeafState};

pub use at::{At, Role};
pub(crate) use paths::{is_at_or_below, join};

/// The function that is called with every tensor and returns its replacement.
pub type Visit<'a> = dyn FnMut(At<'_>, &Tensor) -> Result<Tensor> + 'a;

/// A walk that builds nothing: a model's [`visit_params`](crate::Freezable::visit_params).
pub(crate) type Walk<'a> = dyn Fn(&mut Mapper<'_>) -> Result<()> + 'a;

/// Walks a model in declaration order. Created by this library; a hand-written
/// [`Freezable::map_params`](crate::Freezable::map_params) calls its methods.
pub struct Mapper<'a> {
    visit: &'a mut Visit<'a>,
    states: &'a [LeafState],
    /// The paths of the plan's leaves; none without a plan.
    paths: &'a [String],
    batch_norm: BatchNormPolicy,
    path: String,
    /// The leaf being mapped: where its path ends, and its type.
    open: Option<(usize, &'static str)>,
    heads: Vec<Head>,
    /// For each group of the plan's leaves, whether all are frozen; computed on first use.
    frozen_groups: OnceCell<HashMap<&'a str, bool>>,
    /// The attributes that apply to the part being mapped, including those of the types around it.
    declared: Declared,
    /// The generators seen so far, with the paths of the parts that hold them.
    generators: Vec<(String, Generator)>,
}

/// A leaf that was walked over, with or without tensors.
pub(crate) struct Head {
    pub(crate) path: String,
    pub(crate) kind: &'static str,
    pub(crate) declared: Declared,
    /// The type of the candle layer in it that has no backward, if there is one.
    pub(crate) no_backward: Option<&'static str>,
}

impl<'a> Mapper<'a> {
    /// A mapper over leaves in the given states; leaves beyond the slice count as trained.
    pub(crate) fn new(
        visit: &'a mut Visit<'a>,
        states: &'a [LeafState],
        batch_norm: BatchNormPolicy,
    ) -> Self {
        Self {
            visit,
            states,
            paths: &[],
            batch_norm,
            path: String::new(),
            open: None,
            heads: Vec::new(),
            frozen_groups: OnceCell::new(),
            declared: Declared::NOTHING,
            generators: Vec::new(),
        }
    }

    /// A mapper over the leaves of a plan, which also knows whether the group around a part is
    /// frozen.
    pub(crate) fn of_plan(
        visit: &'a mut Visit<'a>,
        plan: &'a FreezePlan,
        batch_norm: BatchNormPolicy,
    ) -> Self {
        Self { paths: plan.paths(), ..Self::new(visit, plan.states(), batch_norm) }
    }

    /// The leaves seen so far.
    pub(crate) fn into_heads(self) -> Vec<Head> {
        self.heads
    }

    /// The random generators seen so far, with the paths of the parts that hold them; a shared one
    /// once for each part.
    pub(crate) fn into_generators(self) -> Vec<(String, Generator)> {
        self.generators
    }

    /// Runs `inside` one path segment further down.
    ///
    /// # Errors
    ///
    /// Those of `inside`.
    pub fn at<R>(
        &mut self,
        segment: &str,
        inside: impl FnOnce(&mut Self) -> Result<R>,
    ) -> Result<R> {
        let outer = self.path.len();
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(segment);
        let result = inside(self);
        self.path.truncate(outer);
        result
    }

    /// Maps one leaf; `inside` passes its tensors by [`weight`](Self::weight) and
    /// [`buffer`](Self::buffer). Within a [`unit`](Self::unit) the tensors belong to the unit.
    ///
    /// # Errors
    ///
    /// Those of `inside`.
    pub fn leaf<R>(
        &mut self,
        kind: &'static str,
        inside: impl FnOnce(&mut Self) -> Result<R>,
    ) -> Result<R> {
        self.unit(kind, inside)
    }

    /// Maps a group of layers as one leaf.
    ///
    /// # Errors
    ///
    /// Those of `inside`.
    pub fn unit<R>(
        &mut self,
        kind: &'static str,
        inside: impl FnOnce(&mut Self) -> Result<R>,
    ) -> Result<R> {
        if self.open.is_some() {
            return inside(self);
        }
        let (path, declared) = (self.path.clone(), self.declared);
        self.heads.push(Head { path, kind, declared, no_backward: None });
        self.open = Some((self.path.len(), kind));
        let result = inside(self);
        self.open = None;
        result
    }

    /// Maps a part to which the attributes `declared` apply. Within a leaf only `no_decay` is
    /// allowed.
    ///
    /// # Errors
    ///
    /// Those of `inside`, or `declared` freezes or trains a part of a leaf.
    pub fn declared<R>(
        &mut self,
        declared: Declared,
        inside: impl FnOnce(&mut Self) -> Result<R>,
    ) -> Result<R> {
        if self.open.is_some() && declared.is_of_leaves() {
            let why = "`frozen`, `always` and `lr` are of whole leaves, and a unit is one leaf: \
                       declare them of the unit, or make it no unit";
            return Err(Error::Mapping { path: self.path.clone(), why });
        }
        let outer = self.declared;
        self.declared = outer.around(declared);
        let result = inside(self);
        self.declared = outer;
        result
    }

    /// The replacement of a trained tensor called `name`.
    ///
    /// # Errors
    ///
    /// Called outside a leaf, or the mapper's function failed.
    pub fn weight(&mut self, name: &str, tensor: &Tensor) -> Result<Tensor> {
        self.tensor(name, tensor, Role::Weight)
    }

    /// As [`weight`](Self::weight) for a tensor that may be absent.
    ///
    /// # Errors
    ///
    /// As [`weight`](Self::weight).
    pub fn optional(&mut self, name: &str, tensor: Option<&Tensor>) -> Result<Option<Tensor>> {
        tensor.map(|tensor| self.weight(name, tensor)).transpose()
    }

    /// The replacement of a running statistic called `name`, which all views share, frozen or not.
    /// Hold one that the forward updates as a `Var`, and compute with it detached.
    ///
    /// # Errors
    ///
    /// As [`weight`](Self::weight).
    pub fn buffer(&mut self, name: &str, tensor: &Tensor) -> Result<Tensor> {
        self.tensor(name, tensor, Role::Buffer)
    }

    /// Marks the leaf being mapped as containing a candle layer of type `kind`, whose forward
    /// records no backward.
    pub(crate) fn has_no_backward(&mut self, kind: &'static str) {
        if let (Some(_), Some(head)) = (self.open, self.heads.last_mut()) {
            head.no_backward.get_or_insert(kind);
        }
    }

    /// Registers the generator that the part being mapped draws from; views share it, and it is
    /// saved and restored with the model.
    pub(crate) fn generator(&mut self, generator: &Generator) {
        self.generators.push((self.path.clone(), generator.clone()));
    }

    fn tensor(&mut self, name: &str, tensor: &Tensor, role: Role) -> Result<Tensor> {
        let Some((end, kind)) = self.open else {
            let why = "a tensor was handed over outside a leaf; call it inside `mapper.leaf(..)`";
            return Err(Error::Mapping { path: join(&self.path, name), why });
        };
        let state = self.state();
        let param = join(self.path[end..].trim_start_matches('.'), name);
        let at = At {
            leaf: self.heads.len() - 1,
            path: &self.path[..end],
            kind,
            param: &param,
            role,
            state,
            declared: self.declared,
        };
        (self.visit)(at, tensor)
    }
}

impl fmt::Debug for Mapper<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapper")
            .field("path", &self.path)
            .field("leaves", &self.heads.len())
            .finish_non_exhaustive()
    }
}
