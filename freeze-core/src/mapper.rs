//! The visitor that [`Freezable::map_params`] drives: it knows where in the model it is.

use candle_core::Tensor;

use crate::nn::dropout::Generator;
use crate::{BatchNormPolicy, Error, Freezable, FreezePlan, LeafState, Result};

/// Where a tensor sits.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct At<'a> {
    /// The leaf's index, counted from the front of the model.
    pub leaf: usize,
    /// The leaf's path, such as `blocks.3.conv1`; empty if the model itself is a leaf.
    pub path: &'a str,
    /// The leaf's type name.
    pub kind: &'static str,
    /// The tensor's name within the leaf, such as `weight`; empty for a bare tensor.
    pub param: &'a str,
    /// Parameter or running statistic.
    pub role: Role,
    /// The leaf's place in the plan.
    pub state: LeafState,
}

impl At<'_> {
    /// The full name: path and parameter, joined by a dot.
    pub fn name(&self) -> String {
        join(self.path, self.param)
    }
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trained by gradients.
    Weight,
    /// Moved by the forward pass, like a batch norm's running statistics.
    Buffer,
}

/// The type of the function that sees every tensor and returns its replacement.
pub type Visit<'a> = dyn FnMut(At<'_>, &Tensor) -> Result<Tensor> + 'a;

/// Walks a model in declaration order. Created by this library; a hand-written
/// [`Freezable::map_params`] calls its methods.
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
    /// The generators passed, with the paths of the parts that hold them.
    generators: Vec<(String, Generator)>,
}

/// A leaf that was passed, with or without tensors.
pub(crate) struct Head {
    pub(crate) path: String,
    pub(crate) kind: &'static str,
}

impl<'a> Mapper<'a> {
    /// A mapper over leaves in the given states; leaves beyond the slice count as trained.
    pub(crate) fn new(
        visit: &'a mut Visit<'a>,
        states: &'a [LeafState],
        batch_norm: BatchNormPolicy,
    ) -> Self {
        let (path, heads, generators) = (String::new(), Vec::new(), Vec::new());
        Self { visit, states, paths: &[], batch_norm, path, open: None, heads, generators }
    }

    /// A mapper over the leaves of a plan, which also knows what lies around a part.
    pub(crate) fn of_plan(
        visit: &'a mut Visit<'a>,
        plan: &'a FreezePlan,
        batch_norm: BatchNormPolicy,
    ) -> Self {
        Self { paths: plan.paths(), ..Self::new(visit, plan.states(), batch_norm) }
    }

    /// The leaves passed so far.
    pub(crate) fn into_heads(self) -> Vec<Head> {
        self.heads
    }

    /// The random generators passed so far, under the paths of the parts that hold them; a shared
    /// one under each.
    pub(crate) fn into_generators(self) -> Vec<(String, Generator)> {
        self.generators
    }

    /// Maps the part called `name`.
    ///
    /// # Errors
    ///
    /// Those of the part.
    pub fn part<T: Freezable>(&mut self, name: &str, part: &T) -> Result<T> {
        self.at(name, |mapper| part.map_params(mapper))
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

    /// Maps one leaf: inside, [`weight`](Self::weight) and [`buffer`](Self::buffer) hand its tensors
    /// over. Inside a [`unit`](Self::unit) the tensors belong to the unit.
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
        self.heads.push(Head { path: self.path.clone(), kind });
        self.open = Some((self.path.len(), kind));
        let result = inside(self);
        self.open = None;
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

    /// The replacement of a running statistic called `name`.
    ///
    /// # Errors
    ///
    /// As [`weight`](Self::weight).
    pub fn buffer(&mut self, name: &str, tensor: &Tensor) -> Result<Tensor> {
        self.tensor(name, tensor, Role::Buffer)
    }

    /// The state of the leaf being mapped; outside a leaf, trained.
    ///
    /// A layer that behaves otherwise when frozen asks here: it never infers it from its tensors.
    pub fn state(&self) -> LeafState {
        let index = self.heads.len().wrapping_sub(1);
        match self.open {
            Some(_) => self.states.get(index).copied().unwrap_or(LeafState::TRAINED),
            None => LeafState::TRAINED,
        }
    }

    /// Whether the struct that holds the part being mapped is frozen as a whole: all leaves of the
    /// nearest group around it that has any. Inside a leaf, whether that is frozen.
    ///
    /// A part without parameters of its own, such as a dropout, asks here.
    pub fn enclosing_frozen(&self) -> bool {
        if self.open.is_some() {
            return self.state().is_frozen();
        }
        let mut group = self.path.as_str();
        while !group.is_empty() {
            group = group.rfind('.').map_or("", |dot| &group[..dot]);
            let leaves = self.paths.iter().zip(self.states);
            let mut inside = leaves.filter(|(path, _)| is_at_or_below(path, group)).peekable();
            if inside.peek().is_some() {
                return inside.all(|(_, state)| state.is_frozen());
            }
        }
        false
    }

    /// Says that the part being mapped draws from `generator`, which views share: it is saved and put
    /// back with the model.
    pub(crate) fn generator(&mut self, generator: &Generator) {
        self.generators.push((self.path.clone(), generator.clone()));
    }

    /// What a frozen batch norm is to normalise by.
    pub fn batch_norm(&self) -> BatchNormPolicy {
        self.batch_norm
    }

    /// The path of the part being mapped.
    pub fn path(&self) -> &str {
        &self.path
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
        };
        (self.visit)(at, tensor)
    }
}

/// Whether `path` is `group` or lies below it; everything lies below the empty path.
pub(crate) fn is_at_or_below(path: &str, group: &str) -> bool {
    match path.strip_prefix(group) {
        Some(rest) => group.is_empty() || rest.is_empty() || rest.starts_with('.'),
        None => false,
    }
}

/// Joins two halves of a name with a dot; either may be empty.
pub(crate) fn join(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.to_string(),
        (path, "") => path.to_string(),
        (path, name) => format!("{path}.{name}"),
    }
}
