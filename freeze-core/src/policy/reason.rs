//! The reason for the state of one leaf.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why one leaf froze, thawed or trains at another rate, printed as `` `body.3` froze: 3 of 8 epochs
/// are over, 2 of 4 leaves are due``.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The path of the leaf.
    pub leaf: String,
    /// What happened to it and why, with the numbers: a sentence without its subject.
    pub text: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.leaf, self.text)
    }
}
