//! Rows in memory.

use std::sync::Arc;

use super::account::Account;

/// The bounds of a chunk's size in bytes. Within them a chunk is about as large as all chunks
/// before it.
const CHUNK: std::ops::RangeInclusive<u64> = 1 << 16..=1 << 22;

/// Rows in chunks that never move or grow, so that the bytes taken from the budget are those held.
#[derive(Debug)]
pub(super) struct Memory {
    account: Arc<Account>,
    width: usize,
    chunks: Vec<Vec<u8>>,
    /// How many more rows fit into the last chunk.
    room: usize,
    free: Vec<InMemory>,
    held: u64,
}

/// The position of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InMemory {
    chunk: u32,
    row: u32,
}

impl Memory {
    pub(super) fn new(account: Arc<Account>, width: usize) -> Self {
        Self { account, width, chunks: Vec::new(), room: 0, free: Vec::new(), held: 0 }
    }

    /// Stores a row, if there is room.
    pub(super) fn put(&mut self, row: &[u8]) -> Option<InMemory> {
        if let Some(at) = self.free.pop() {
            self.row_mut(at).copy_from_slice(row);
            return Some(at);
        }
        if self.room == 0 {
            self.grow()?;
        }
        self.room -= 1;
        let last = self.chunks.len() - 1;
        let chunk = &mut self.chunks[last];
        chunk.extend_from_slice(row);
        Some(InMemory { chunk: last as u32, row: (chunk.len() / self.width - 1) as u32 })
    }

    pub(super) fn row(&self, at: InMemory) -> &[u8] {
        &self.chunks[at.chunk as usize][at.row as usize * self.width..][..self.width]
    }

    /// Frees the row's space for another.
    pub(super) fn free(&mut self, at: InMemory) {
        self.free.push(at);
    }

    fn row_mut(&mut self, at: InMemory) -> &mut [u8] {
        &mut self.chunks[at.chunk as usize][at.row as usize * self.width..][..self.width]
    }

    fn grow(&mut self) -> Option<()> {
        let rows = self.held.clamp(*CHUNK.start(), *CHUNK.end()) as usize / self.width;
        let rows = self.account.memory.take(rows.max(1), self.width);
        let bytes = rows * self.width;
        let mut chunk = Vec::new();
        if rows == 0 || chunk.try_reserve_exact(bytes).is_err() {
            self.account.memory.give_back(bytes as u64);
            return None;
        }
        self.chunks.push(chunk);
        (self.room, self.held) = (rows, self.held + bytes as u64);
        Some(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.account.memory.give_back(self.held);
    }
}
