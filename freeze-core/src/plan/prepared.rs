//! A prepared change: the first of two phases.

use std::fmt;

/// A prepared change that can no longer fail: [`commit`](Self::commit) makes it, and dropping it
/// changes nothing.
///
/// It borrows what it would change, so that cannot be used in between, and nothing stays prepared.
///
/// ```
/// use freeze_core::Prepared;
///
/// let mut rate = 0.1;
/// drop(Prepared::new(|| rate = 0.5));
/// assert_eq!(rate, 0.1);
/// Prepared::new(|| rate = 0.5).commit();
/// assert_eq!(rate, 0.5);
/// ```
#[must_use = "what is prepared changes nothing unless it is committed"]
pub struct Prepared<'a, T>(Box<dyn FnOnce() -> T + 'a>);

impl<'a, T> Prepared<'a, T> {
    /// A change that is made by calling `change`, which must not fail.
    pub fn new(change: impl FnOnce() -> T + 'a) -> Self {
        Self(Box::new(change))
    }

    /// Makes the change.
    pub fn commit(self) -> T {
        (self.0)()
    }
}

impl<T> fmt::Debug for Prepared<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}
