//! The report of what was loaded and what was not.

use std::fmt;

use candle_core::DType;

use crate::error::{listed, several};

/// The result for every tensor of the model and the files. `Display` prints a few lines.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "it says what was not loaded"]
#[non_exhaustive]
pub struct Loaded {
    /// The model's tensors that were loaded, in the order of the leaves.
    pub loaded: Vec<String>,
    /// The model's tensors that are not in the files; a tied one by the first of its names.
    pub missing: Vec<String>,
    /// The files' tensors that are not in the model, by their names in the files.
    pub unexpected: Vec<String>,
    /// The tensors that are in both with different shapes.
    pub misshaped: Vec<Misshaped>,
}

/// A tensor whose shape differs between model and file, or that is floating-point in one and
/// integer in the other.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Misshaped {
    /// Its name in the model.
    pub name: String,
    /// Shape and type in the file; `None` for a type that candle does not have.
    pub found: (Vec<usize>, Option<DType>),
    /// Shape and type in the model.
    pub expected: (Vec<usize>, DType),
}

impl Loaded {
    /// Whether every tensor of the model was loaded and every tensor of the files used.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshaped.is_empty()
    }

    /// Everything that does not match, as the end of a sentence.
    pub(super) fn shortfall(&self) -> String {
        let mut parts = Vec::new();
        for (what, names) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            if !names.is_empty() {
                parts.push(format!("{what} {}: {}", names.len(), listed(names)));
            }
        }
        if !self.misshaped.is_empty() {
            let shown = several(self.misshaped.iter().map(ToString::to_string), ", ");
            parts.push(format!("misshaped {}: {shown}", self.misshaped.len()));
        }
        parts.join("; ")
    }
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.loaded.len() + self.missing.len() + self.misshaped.len();
        write!(f, "loaded {} of {all} tensors", self.loaded.len())?;
        match self.is_complete() {
            true => Ok(()),
            false => write!(f, "; {}", self.shortfall()),
        }
    }
}

impl fmt::Display for Misshaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, dtype) = &self.found;
        let dtype = dtype.map_or("of a type that candle lacks", |dtype| dtype.as_str());
        let (expected, ours) = &self.expected;
        let ours = ours.as_str();
        let name = &self.name;
        write!(f, "`{name}` is {found:?} {dtype} in the file, {expected:?} {ours} in the model")
    }
}
