//! What becomes of the optimizer state of frozen parameters.

use serde::{Deserialize, Serialize};

/// What happens to a parameter's optimizer state when the parameter is frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatePolicy {
    /// Freed; after thawing the parameter starts again from new state, including its bias
    /// correction.
    #[default]
    Drop,
    /// Kept on its device; after thawing, training continues from it.
    Keep,
    /// Moved to host memory, and back with the first update after thawing. The same as `Keep` for
    /// parameters on the CPU.
    Offload,
}
