//! Rows in memory.

use std::sync::{Arc, PoisonError, RwLock};

use super::account::Account;

/// The bounds of a chunk's size in bytes. Within them a chunk is about as large as all chunks
/// before it.
const CHUNK: std::ops::RangeInclusive<u64> = 1 << 16..=1 << 22;

/// Bytes of rows, which a thread may read ahead.
#[derive(Clone, Debug)]
pub(super) struct Chunk(Arc<RwLock<Vec<u8>>>);

/// Rows in chunks that never move or grow, so that the bytes taken from the budget are those held.
#[derive(Debug)]
pub(super) struct Memory {
    account: Arc<Account>,
    width: usize,
    chunks: Vec<Chunk>,
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
            let (chunk, start) = self.place(at);
            chunk.with(|bytes| bytes[start..start + row.len()].copy_from_slice(row));
            return Some(at);
        }
        if self.room == 0 {
            self.grow()?;
        }
        self.room -= 1;
        let last = self.chunks.len() - 1;
        let before = self.chunks[last].with(|bytes| {
            bytes.extend_from_slice(row);
            bytes.len() / row.len() - 1
        });
        Some(InMemory { chunk: last as u32, row: before as u32 })
    }

    /// The chunk of a row, and where the row begins.
    pub(super) fn place(&self, at: InMemory) -> (&Chunk, usize) {
        (&self.chunks[at.chunk as usize], at.row as usize * self.width)
    }

    /// Frees the row's space for another.
    pub(super) fn free(&mut self, at: InMemory) {
        self.free.push(at);
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
        self.chunks.push(Chunk(Arc::new(RwLock::new(chunk))));
        (self.room, self.held) = (rows, self.held + bytes as u64);
        Some(())
    }
}

impl Chunk {
    /// Hands the row of `width` bytes from `start` on to `take`.
    pub(super) fn read(&self, start: usize, width: usize, take: impl FnOnce(&[u8])) {
        take(&self.0.read().unwrap_or_else(PoisonError::into_inner)[start..start + width]);
    }

    fn with<R>(&self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        write(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.account.memory.give_back(self.held);
    }
}
