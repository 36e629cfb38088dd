//! State that the records of a store share: budgets, and which warnings have been given.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::disk::Disk;

/// Creates a file in a folder.
pub(super) type Make = Box<dyn Fn(&Path) -> io::Result<Arc<dyn Disk>> + Send + Sync>;

/// State that the records of a store share.
pub(super) struct Account {
    pub(super) memory: Budget,
    pub(super) disk: Budget,
    pub(super) folder: Option<PathBuf>,
    make: Make,
    full: AtomicBool,
    /// The bytes of kept files when last measured.
    kept: AtomicU64,
    failed: AtomicBool,
    lost: AtomicBool,
    ahead: AtomicU64,
}

/// The largest number of bytes that may be held, and the number held.
#[derive(Debug)]
pub(in crate::cache) struct Budget {
    pub(in crate::cache) limit: u64,
    used: AtomicU64,
}

impl Account {
    pub(super) fn new(memory: u64, disk: Option<(PathBuf, u64)>, make: Make) -> Self {
        let (folder, disk) = disk.unzip();
        let [full, failed, lost] = [(); 3].map(|()| AtomicBool::new(false));
        let (memory, disk) = (Budget::new(memory), Budget::new(disk.unwrap_or(0)));
        let [kept, ahead] = [(); 2].map(|()| AtomicU64::new(0));
        Self { memory, disk, folder, make, full, kept, failed, lost, ahead }
    }

    /// A new file, if there is a folder and no write has failed.
    pub(super) fn file(&self) -> Option<Arc<dyn Disk>> {
        let made = (self.make)(self.folder.as_deref()?);
        made.inspect_err(|error| self.failed(error)).ok()
    }

    /// Notes the bytes of all kept files in the folder.
    pub(super) fn measured(&self, bytes: u64) {
        self.kept.store(bytes, Relaxed);
    }

    /// Notes that a row was read ahead.
    pub(super) fn was_ahead(&self) {
        self.ahead.fetch_add(1, Relaxed);
    }

    /// How many rows were read ahead and asked for.
    pub(super) fn ahead(&self) -> u64 {
        self.ahead.load(Relaxed)
    }

    /// Bytes on disk.
    pub(super) fn on_disk(&self) -> u64 {
        self.disk.used() + self.kept.load(Relaxed)
    }

    /// Whether files are still written.
    pub(super) fn is_writing(&self) -> bool {
        !self.failed.load(Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Relaxed)
    }

    /// Notes that a row did not fit; warns the first time.
    pub(super) fn full(&self) {
        if !self.full.swap(true, Relaxed) {
            let (memory, disk) = (self.memory.limit, self.disk.limit);
            tracing::warn!(memory, disk, "the budgets are used up: further samples are not kept");
        }
    }

    /// Notes that a file cannot be created or written.
    pub(super) fn failed(&self, error: &io::Error) {
        if !self.failed.swap(true, Relaxed) {
            tracing::warn!(folder = ?self.folder, %error, "a file cannot be written: no further samples go there");
        }
    }

    /// Notes that a row cannot be read, or is damaged.
    pub(super) fn lost(&self, error: &io::Error) {
        if !self.lost.swap(true, Relaxed) {
            tracing::warn!(folder = ?self.folder, %error, "samples cannot be read back: they are computed anew");
        }
    }
}

impl Budget {
    pub(in crate::cache) fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    pub(in crate::cache) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Takes the bytes for as many of the `wanted` rows as fit, and returns their number.
    pub(in crate::cache) fn take(&self, wanted: usize, width: usize) -> usize {
        let width = width as u64;
        let fit = |used: u64| (wanted as u64).min(self.limit.saturating_sub(used) / width);
        let taken = self.used.fetch_update(Relaxed, Relaxed, |used| Some(used + fit(used) * width));
        taken.map_or(0, fit) as usize
    }

    /// Takes the bytes for all rows, or none.
    pub(in crate::cache) fn take_all(&self, rows: usize, width: usize) -> bool {
        let bytes = (rows * width) as u64;
        let all = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Relaxed, Relaxed, all).is_ok()
    }

    pub(in crate::cache) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("memory", &self.memory)
            .field("disk", &self.disk)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}
