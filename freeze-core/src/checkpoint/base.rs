//! The file that a delta leaves the unchanged tensors to.

use std::path::Path;

use candle_core::Tensor;

use super::archive::Archive;
use super::save::MODEL;
use super::state::{State, id};
use crate::{Error, Result};

/// A checkpoint that stands alone, or a safetensors file of weights under the field paths.
pub(super) struct Base {
    archive: Archive,
    /// `None` for a file of weights, whose checksums must be computed.
    state: Option<State>,
}

impl Base {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let archive = Archive::open(path)?;
        let state = State::read(&archive)?;
        if state.as_ref().is_some_and(|state| state.in_base.is_some()) {
            let why = "it is a delta itself; take the checkpoint that it was saved against";
            return Err(archive.misfit(why));
        }
        Ok(Self { archive, state })
    }

    /// Which file it is; `None` for weights alone.
    pub(super) fn id(&self) -> Option<String> {
        self.state.as_ref().and_then(|_| id(&self.archive))
    }

    pub(super) fn has(&self, field: &str, tensor: &Tensor) -> bool {
        let found = self.archive.info(&self.name(field));
        found == Some((tensor.dims(), Some(tensor.dtype())))
    }

    pub(super) fn checksum(&mut self, field: &str) -> Result<u128> {
        let name = self.name(field);
        match &self.state {
            Some(state) => state.checksum(&self.archive, &name),
            None => self.archive.checksum(&name),
        }
    }

    /// The tensor, if it is still what it was when the delta was saved.
    pub(super) fn tensor(&mut self, field: &str, expected: u128) -> Result<Tensor> {
        let name = self.name(field);
        match self.archive.tensor(&name, Some(expected)) {
            Err(Error::Damaged { .. }) => Err(self.archive.misfit(format!(
                "`{name}` is missing or not what the delta was saved against; take that base"
            ))),
            read => read,
        }
    }

    fn name(&self, field: &str) -> String {
        match self.state {
            Some(_) => format!("{MODEL}{field}"),
            None => field.to_string(),
        }
    }
}
