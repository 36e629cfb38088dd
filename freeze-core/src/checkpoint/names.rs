//! What tensors are called in a checkpoint.

/// What stands in front of the names of the model's tensors.
pub(super) const MODEL: &str = "model/";

/// What stands in front of the names of the generators' states.
pub(super) const RANDOM: &str = "random/";

/// What stands in front of the names of gathered gradients.
pub(super) const GATHERED: &str = "gathered/";

/// The columns of a history: what is recorded, which metric it is of, and how far training was, as
/// `epoch`, `epochs`, `step`, `steps`.
pub(super) const COLUMNS: [&str; 3] = ["history/value", "history/metric", "history/elapsed"];

/// What stands in front of the names of an optimizer's tensors.
pub(super) fn optimizer_prefix(index: usize) -> String {
    format!("optimizer.{index}/")
}
