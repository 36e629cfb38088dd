//! What a run knows of the graphs of its losses.

use std::collections::HashSet;

use candle_core::TensorId;

/// Which gradients are complete within the backward.
#[derive(Debug, Default)]
pub(super) struct Graphs {
    /// Which leaves were frozen when graphs were analysed.
    pub(super) frozen: Vec<bool>,
    /// The variables whose gradients were analysed.
    pub(super) known: HashSet<TensorId>,
    /// Those of them whose gradients come from operations of ours alone.
    pub(super) ready: HashSet<TensorId>,
}

/// The state of a run that updates within the backward.
#[derive(Debug, Default)]
pub(super) struct InBackward {
    /// Whether a step failed after it had updated some parameters.
    pub(super) torn: bool,
}
