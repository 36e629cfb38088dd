//! Temporary files and kept files.

use std::sync::Arc;

use super::disk::{Disk, OnDisk};
use super::kept::Kept;
use super::scratch::Scratch;

/// The files of records: a temporary one, or those that are kept for later runs.
#[derive(Debug)]
pub(super) enum Files {
    Scratch(Scratch),
    Kept(Kept),
}

impl Files {
    /// Writes as many of `rows` as fit, from the first on, and returns their positions.
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

    /// Frees the row's space for another, if the file is not only appended to.
    pub(super) fn free(&mut self, at: OnDisk) {
        if let Self::Scratch(scratch) = self {
            scratch.free(at);
        }
    }
}
