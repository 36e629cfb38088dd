//! A mark for the current view of a freezer.

use std::sync::atomic::{AtomicU64, Ordering};

/// A mark of one view of one freezer, unique in the process. Code that stores what was computed through a
/// view compares it to find out that the view has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Revision(u64);

impl Revision {
    /// A new mark.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
