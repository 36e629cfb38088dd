//! Rows in a temporary file.

use std::sync::Arc;

use super::account::Account;
use super::disk::{Disk, OnDisk, checksum};

/// Rows one after the other in a file, which is created for the first row.
#[derive(Debug)]
pub(super) struct Scratch {
    account: Arc<Account>,
    width: usize,
    disk: Option<Arc<dyn Disk>>,
    end: u64,
    free: Vec<u64>,
}

impl Scratch {
    pub(super) fn new(account: Arc<Account>, width: usize) -> Self {
        Self { account, width, disk: None, end: 0, free: Vec::new() }
    }

    /// Writes as many of `rows` as fit, from the first on, and returns their positions. It writes
    /// directly, without a thread, because the system's page cache writes to the disk in the
    /// background.
    pub(super) fn put(&mut self, rows: &[u8]) -> Vec<OnDisk> {
        let Some(disk) = self.open() else { return Vec::new() };
        let starts = self.starts(rows.len() / self.width);
        let mut put = Vec::with_capacity(starts.len());
        for run in starts.chunk_by(|start, next| start + self.width as u64 == *next) {
            let bytes = &rows[put.len() * self.width..][..run.len() * self.width];
            if let Err(error) = disk.write(bytes, run[0]) {
                self.account.failed(&error);
                break;
            }
            let rows = run.iter().zip(bytes.chunks_exact(self.width));
            put.extend(rows.map(|(&at, row)| OnDisk { file: 0, at, checksum: checksum(row) }));
        }
        put
    }

    pub(super) fn disk(&self) -> Option<&Arc<dyn Disk>> {
        self.disk.as_ref()
    }

    /// Frees the row's space for another.
    pub(super) fn free(&mut self, at: OnDisk) {
        self.free.push(at.at);
    }

    fn open(&mut self) -> Option<Arc<dyn Disk>> {
        if self.disk.is_none() {
            self.disk = self.account.file();
        }
        self.disk.clone().filter(|_| self.account.is_writing())
    }

    /// The offsets for at most `wanted` rows.
    fn starts(&mut self, wanted: usize) -> Vec<u64> {
        let mut starts = self.free.split_off(self.free.len().saturating_sub(wanted));
        let width = self.width as u64;
        let new = self.account.disk.take(wanted - starts.len(), self.width) as u64;
        starts.extend((0..new).map(|i| self.end + i * width));
        self.end += new * width;
        starts
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.account.disk.give_back(self.end);
    }
}
