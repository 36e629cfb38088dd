//! Whether the hook was told of the start of the run.

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// The start was told of, or it is known whether that was forgotten.
    settled: bool,
}

impl Begun {
    /// A hook that was told, or whose caller sees to it.
    pub(super) fn told() -> Self {
        Self { settled: true }
    }

    /// Warns, at the first call only, if the start `is_missed`.
    pub(super) fn settle(&mut self, is_missed: impl FnOnce() -> bool) {
        if !std::mem::replace(&mut self.settled, true) && is_missed() {
            tracing::warn!(
                "the policy acts before the first step, too, and was not asked there; call the \
                 hook's `begin` before the loop"
            );
        }
    }
}
