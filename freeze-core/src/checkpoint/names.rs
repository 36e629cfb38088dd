//! The names of tensors in a checkpoint.

/// The prefix of the model's tensors.
pub(super) const MODEL: &str = "model/";

/// The prefix of the generators' states.
pub(super) const RANDOM: &str = "random/";

/// The prefix of accumulated gradients.
pub(super) const GATHERED: &str = "gathered/";

/// The columns of a history: the value, the index of its metric, and the progress as `epoch`,
/// `epochs`, `step`, `steps`.
pub(super) const COLUMNS: [&str; 3] = ["history/value", "history/metric", "history/elapsed"];

/// The prefix of an optimizer's tensors.
pub(super) fn optimizer_prefix(index: usize) -> String {
    format!("optimizer.{index}/")
}
