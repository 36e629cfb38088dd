//! Tied parameters that are frozen in one leaf and trained in another.

use std::fmt;

use crate::error::{cut, listed};

/// A tied parameter that goes on training although a leaf that holds it is frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tie {
    /// The parameter's full name: the first of its names.
    pub name: String,
    /// The paths of the frozen leaves that hold it.
    pub frozen_in: Vec<String>,
    /// The paths of the trained leaves that hold it, which is why it is not frozen.
    pub trained_in: Vec<String>,
}

impl fmt::Display for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trained, frozen) = (listed(&self.trained_in), listed(&self.frozen_in));
        write!(f, "`{}` trains with {trained}, although it is frozen in {frozen}", cut(&self.name))
    }
}
