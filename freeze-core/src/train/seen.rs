//! What a run that updates within the backward knows of its graphs.

use std::collections::HashSet;

use candle_core::TensorId;

/// The state of a run that updates within the backward.
#[derive(Debug, Default)]
pub(super) struct InBackward {
    /// Which leaves were frozen when graphs were analysed.
    pub(super) frozen: Vec<bool>,
    /// The variables whose gradients were analysed.
    pub(super) known: HashSet<TensorId>,
    /// Those of them whose gradients come from operations of ours alone.
    pub(super) ready: HashSet<TensorId>,
    /// Whether a step failed after it had updated some parameters.
    pub(super) torn: bool,
}
