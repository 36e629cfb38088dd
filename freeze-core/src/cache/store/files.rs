//! Files of either kind.

use std::sync::Arc;

use super::disk::{Disk, OnDisk};
use super::kept::Kept;
use super::scratch::Scratch;

/// Files that go with the records, or that stay.
#[derive(Debug)]
pub(super) enum Files {
    Scratch(Scratch),
    Kept(Kept),
}

impl Files {
    /// Writes the first of `rows`, as many as fit, and says where they lie.
    pub(super) fn put(&mut self, keys: &[u64], rows: &[u8]) -> Vec<OnDisk> {
        match self {
            Self::Scratch(scratch) => scratch.put(rows),
            Self::Kept(kept) => kept.put(keys, rows),
        }
    }

    /// The file of a row.
    pub(super) fn disk(&self, at: OnDisk) -> Option<&Arc<dyn Disk>> {
        match self {
            Self::Scratch(scratch) => scratch.disk(),
            Self::Kept(kept) => kept.disk(at.file),
        }
    }

    /// The row's room may be used again, if its file is ever written there.
    pub(super) fn free(&mut self, at: OnDisk) {
        if let Self::Scratch(scratch) = self {
            scratch.free(at);
        }
    }
}
