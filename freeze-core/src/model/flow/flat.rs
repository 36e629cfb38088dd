//! A flow as a list of tensors.

use std::collections::VecDeque;

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::model::mapper::join;

/// A flow as a list of its tensors and of the counts that determine its form.
/// [`Flow::flatten`](crate::Flow::flatten) fills it and [`Flow::unflatten`](crate::Flow::unflatten)
/// empties it, in the same order.
#[derive(Clone, Debug, Default)]
pub struct Flat {
    pieces: VecDeque<Piece>,
    path: String,
}

#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Fields and indices, joined by dots; empty for a flow that is one tensor.
    pub(super) name: String,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Tensor(Tensor),
    Count(usize),
}

impl Flat {
    /// Adds a tensor.
    pub fn tensor(&mut self, tensor: &Tensor) {
        self.push(self.path.clone(), What::Tensor(tensor.clone()));
    }

    /// Adds a number that determines the form, such as how many items follow.
    pub fn count(&mut self, count: usize) {
        self.push(self.path.clone(), What::Count(count));
    }

    /// Adds what `inside` adds as the part called `name`.
    pub fn at(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        let outer = std::mem::take(&mut self.path);
        self.path = join(&outer, name);
        inside(self);
        self.path = outer;
    }

    /// Takes the next piece, a tensor.
    ///
    /// # Errors
    ///
    /// The next piece is a count, or there is none.
    pub fn take_tensor(&mut self) -> Result<Tensor> {
        match self.pieces.pop_front() {
            Some(Piece { what: What::Tensor(tensor), .. }) => Ok(tensor),
            Some(Piece { name, .. }) => Err(unlike(name, "a count stands where a tensor should")),
            None => Err(unlike(String::new(), "a tensor is lacking")),
        }
    }

    /// Takes the next piece, a count.
    ///
    /// # Errors
    ///
    /// The next piece is a tensor, or there is none.
    pub fn take_count(&mut self) -> Result<usize> {
        match self.pieces.pop_front() {
            Some(Piece { what: What::Count(count), .. }) => Ok(count),
            Some(Piece { name, .. }) => Err(unlike(name, "a tensor stands where a count should")),
            None => Err(unlike(String::new(), "a count is lacking")),
        }
    }

    pub(super) fn push(&mut self, name: String, what: What) {
        self.pieces.push_back(Piece { name, what });
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter()
    }

    pub(crate) fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.pieces.iter_mut().filter_map(|piece| match &mut piece.what {
            What::Tensor(tensor) => Some(tensor),
            What::Count(_) => None,
        })
    }

    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.named().map(|(_, tensor)| tensor)
    }

    pub(super) fn named(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.pieces.iter().filter_map(|piece| match &piece.what {
            What::Tensor(tensor) => Some((piece.name.as_str(), tensor)),
            What::Count(_) => None,
        })
    }

    /// The name of the next piece.
    pub(super) fn next_name(&self) -> Option<&str> {
        self.pieces.front().map(|piece| piece.name.as_str())
    }

    /// The number of samples, which must be the same in every tensor.
    pub(super) fn batch(&self) -> Result<usize> {
        let mut batch: Option<(&str, usize)> = None;
        for (name, tensor) in self.named() {
            let Some(&size) = tensor.dims().first() else {
                let why = "a tensor without dimensions has no batch: its first dimension is to be \
                           that of the samples, and what all share belongs in `Context`";
                return Err(unlike(name.to_string(), why));
            };
            match batch {
                Some((first, other)) if other != size => {
                    let why = format!(
                        "its first dimension is {size}, that of `{first}` is {other}: it is to be the \
                         batch in every tensor, and what all samples share belongs in `Context`"
                    );
                    return Err(unlike(name.to_string(), why));
                }
                _ => batch = batch.or(Some((name, size))),
            }
        }
        let none = || unlike(String::new(), "no tensor flows, so there is no batch");
        Ok(batch.ok_or_else(none)?.1)
    }

    pub(super) fn map(mut self, map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        for tensor in self.tensors_mut() {
            *tensor = map(tensor)?;
        }
        Ok(self)
    }
}

pub(super) fn unlike(part: String, why: impl Into<String>) -> Error {
    Error::Flow { part, why: why.into() }
}
