//! The model's tensors in a file, by name: of a checkpoint or of weights alone.

use std::path::Path;

use candle_core::{DType, Tensor};

use super::archive::Archive;
use super::save::MODEL;
use super::state::State;
use crate::Result;

/// An open file whose header has been read; tensors are read one at a time.
pub(crate) struct WeightFile {
    archive: Archive,
    /// A checkpoint's.
    state: Option<State>,
}

impl WeightFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let archive = Archive::open(path)?;
        let state = State::read(&archive)?;
        if state.as_ref().is_some_and(|state| state.in_base.is_some()) {
            let why = "it holds only what differs from its base; resume it and save the weights";
            return Err(archive.misfit(why));
        }
        Ok(Self { archive, state })
    }

    pub(crate) fn path(&self) -> &str {
        self.archive.path()
    }

    /// The names, sorted; of a checkpoint those of the model's tensors.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.archive.names();
        match &self.state {
            None => names.map(str::to_string).collect(),
            Some(_) => names.filter_map(|name| name.strip_prefix(MODEL)).map(Into::into).collect(),
        }
    }

    /// Shape and type of a tensor; `None` as type where candle has no such type.
    pub(crate) fn info(&self, name: &str) -> Option<(&[usize], Option<DType>)> {
        self.archive.info(&self.full(name))
    }

    /// Reads a tensor into host memory; one of a checkpoint is checked against its checksum.
    pub(crate) fn tensor(&mut self, name: &str) -> Result<Tensor> {
        let full = self.full(name);
        let state = self.state.as_ref();
        let expected = state.map(|state| state.checksum(&self.archive, &full)).transpose()?;
        self.archive.tensor(&full, expected)
    }

    fn full(&self, name: &str) -> String {
        match self.state {
            None => name.to_string(),
            Some(_) => format!("{MODEL}{name}"),
        }
    }
}
