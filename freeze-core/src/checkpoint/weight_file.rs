//! The model's tensors in a file, by name: a checkpoint or a file of weights.

use std::path::Path;

use candle_core::{DType, Tensor};

use super::archive::Archive;
use super::names::MODEL;
use super::state::{State, id};
use crate::error::{Error, Result};

/// An open file whose header has been read; tensors are read one at a time.
pub(crate) struct WeightFile {
    archive: Archive,
    /// The state of a checkpoint; `None` for a file of weights.
    state: Option<State>,
}

impl WeightFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let why = "it holds only what differs from its base; resume it and save the weights";
        Self::open_whole(path, why)
    }

    /// Opens a file; a delta is refused for the reason `why`.
    pub(super) fn open_whole(path: &Path, why: &str) -> Result<Self> {
        let archive = Archive::open(path)?;
        let state = State::read(&archive)?;
        match state.as_ref().is_some_and(|state| state.in_base.is_some()) {
            true => Err(archive.misfit(why)),
            false => Ok(Self { archive, state }),
        }
    }

    /// The checkpoint's id; `None` for a file of weights.
    pub(super) fn id(&self) -> Option<String> {
        self.state.as_ref().and_then(|_| id(&self.archive))
    }

    pub(crate) fn path(&self) -> &str {
        self.archive.path()
    }

    /// The names, sorted; in a checkpoint those of the model's tensors.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.archive.names();
        match &self.state {
            None => names.map(str::to_string).collect(),
            Some(_) => names.filter_map(|name| name.strip_prefix(MODEL)).map(Into::into).collect(),
        }
    }

    /// Shape and type of a tensor; the type is `None` if candle does not have it.
    pub(crate) fn info(&self, name: &str) -> Option<(&[usize], Option<DType>)> {
        self.archive.info(&self.full(name))
    }

    /// Reads a tensor into host memory; one of a checkpoint is checked against its checksum.
    pub(crate) fn tensor(&mut self, name: &str) -> Result<Tensor> {
        let full = self.full(name);
        let expected = self.saved_checksum(&full).transpose()?;
        self.archive.tensor(&full, expected)
    }

    /// The checksum of a tensor; computed for a file of weights, which holds none.
    pub(super) fn checksum(&mut self, name: &str) -> Result<u128> {
        let full = self.full(name);
        self.saved_checksum(&full).unwrap_or_else(|| self.archive.checksum(&full))
    }

    /// Reads a tensor; if its checksum is not `checksum`, it is refused for the reason `why`.
    pub(super) fn tensor_of(&mut self, name: &str, checksum: u128, why: &str) -> Result<Tensor> {
        let full = self.full(name);
        match self.archive.tensor(&full, Some(checksum)) {
            Err(Error::Damaged { .. }) => Err(self.archive.misfit(format!("`{full}` {why}"))),
            read => read,
        }
    }

    fn saved_checksum(&self, full: &str) -> Option<Result<u128>> {
        self.state.as_ref().map(|state| state.checksum(&self.archive, full))
    }

    fn full(&self, name: &str) -> String {
        match self.state {
            None => name.to_string(),
            Some(_) => format!("{MODEL}{name}"),
        }
    }
}
