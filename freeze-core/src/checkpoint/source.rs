//! A checkpoint that is being read: each tensor is taken once, so that those left over are unknown
//! ones.

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::Tensor;

use super::archive::Archive;
use super::base::Base;
use super::names::MODEL;
use super::state::State;
use super::verify::read;
use super::writer::{Checksum, Checksums};
use crate::error::{Error, Result, listed};

/// A file, its state, and its base if it is a delta.
pub(super) struct Source {
    archive: Archive,
    pub(super) state: State,
    in_base: Checksums,
    base: Option<Base>,
    left: BTreeSet<String>,
}

impl Source {
    pub(super) fn open(path: &Path, base: Option<&Path>) -> Result<Self> {
        let archive = Archive::open(path)?;
        let mut state = read(&archive)?;
        let in_base = state.in_base.take();
        match (&in_base, base) {
            (Some(_), None) => {
                let why = "it holds only what differs from its base; use `resume_delta`";
                return Err(archive.misfit(why));
            }
            (None, Some(_)) => {
                return Err(archive.misfit("it stands alone and needs no base; use `resume`"));
            }
            _ => {}
        }
        let in_base = in_base.unwrap_or_default();
        let left = archive.names().map(str::to_string).collect();
        Ok(Self { archive, state, in_base, base: base.map(Base::open).transpose()?, left })
    }

    /// The names that begin with `prefix` and have not been taken, without the prefix.
    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        let after = |name: &String| name.strip_prefix(prefix).map(str::to_string);
        self.left.iter().filter_map(after).collect()
    }

    /// Reads a tensor and checks its checksum.
    pub(super) fn take(&mut self, name: &str) -> Result<Tensor> {
        self.left.remove(name);
        let checksum = self.state.checksum(&self.archive, name)?;
        self.archive.tensor(name, Some(checksum))
    }

    /// Reads a tensor of the model, if necessary from the base; it must have the shape and type of
    /// `model`.
    pub(super) fn take_model(&mut self, field: &str, model: &Tensor) -> Result<Tensor> {
        let name = format!("{MODEL}{field}");
        let known = self.in_base.get(&name).and_then(Checksum::value);
        let tensor = match (known, &mut self.base) {
            (Some(checksum), Some(base)) => {
                self.left.remove(&name);
                base.tensor(field, checksum)?
            }
            _ => self.take(&name)?,
        };
        match (tensor.dims(), tensor.dtype()) == (model.dims(), model.dtype()) {
            true => Ok(tensor),
            false => Err(self.damaged(format!("`{name}` is not what its layout says"))),
        }
    }

    /// An error if tensors are left over.
    pub(super) fn finish(&self) -> Result<()> {
        if self.left.is_empty() {
            return Ok(());
        }
        Err(self.misfit(format!("nothing here takes {}", listed(&self.left))))
    }

    pub(super) fn damaged(&self, why: impl Into<String>) -> Error {
        self.archive.damaged(why)
    }

    pub(super) fn misfit(&self, why: impl Into<String>) -> Error {
        self.archive.misfit(why)
    }
}
