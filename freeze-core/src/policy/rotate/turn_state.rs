//! What becomes of optimizer state at the end of a turn.

use serde::{Deserialize, Serialize};

use crate::plan::StatePolicy;

/// What becomes of optimizer state when the turn passes to other blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TurnState {
    /// Everything starts again, also what trains in every turn.
    #[default]
    ResetAll,
    /// Freed for blocks that rest; what trains on keeps its own.
    Drop,
    /// Kept for blocks that rest, on their device.
    Keep,
    /// Kept for blocks that rest, in host memory.
    Offload,
}

impl TurnState {
    /// What becomes of the state of frozen parameters.
    pub(super) fn of_frozen(self) -> StatePolicy {
        match self {
            Self::ResetAll | Self::Drop => StatePolicy::Drop,
            Self::Keep => StatePolicy::Keep,
            Self::Offload => StatePolicy::Offload,
        }
    }
}
