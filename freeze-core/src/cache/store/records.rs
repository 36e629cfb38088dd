//! Rows by key, in memory or in a file.

use std::collections::HashMap;
use std::sync::Arc;

use super::account::Account;
use super::ahead::{Ahead, Lift, Lifted, Source, Wanted};
use super::disk::{OnDisk, read_row};
use super::files::Files;
use super::kept::{Identity, Kept};
use super::memory::{InMemory, Memory};
use super::scratch::Scratch;
use crate::error::Result;

/// Rows of one width by key. Dropping it returns their bytes to the store's budgets.
#[derive(Debug)]
pub(in crate::cache) struct Records {
    account: Arc<Account>,
    width: usize,
    places: HashMap<u64, Place>,
    memory: Memory,
    files: Files,
    ahead: Option<Ahead>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// A row without bytes.
    Nowhere,
    Memory(InMemory),
    Disk(OnDisk),
}

impl Records {
    pub(super) fn new(account: Arc<Account>, width: usize) -> Self {
        let files = Files::Scratch(Scratch::new(Arc::clone(&account), width));
        Self::with(account, width, files)
    }

    pub(super) fn kept(account: Arc<Account>, width: usize, identity: &Identity) -> Result<Self> {
        let Some(folder) = account.folder.clone() else { return Ok(Self::new(account, width)) };
        let mut places = HashMap::new();
        let see = &mut |key, at| {
            places.insert(key, Place::Disk(at));
        };
        let kept = Kept::open(Arc::clone(&account), &folder, (identity, width), see)?;
        Ok(Self { places, ..Self::with(account, width, Files::Kept(kept)) })
    }

    fn with(account: Arc<Account>, width: usize, files: Files) -> Self {
        let memory = Memory::new(Arc::clone(&account), width);
        Self { account, width, places: HashMap::new(), memory, files, ahead: None }
    }

    /// Whether there is a row of `key`; reading it may still fail.
    pub(in crate::cache) fn contains(&self, key: u64) -> bool {
        self.places.contains_key(&key)
    }

    /// The number of rows.
    pub(in crate::cache) fn len(&self) -> usize {
        self.places.len()
    }

    /// Appends the stored rows of `keys` to `out`, in the order of the keys, and returns the
    /// indices of those keys. A row that cannot be read, or is damaged, is removed, which is traced
    /// once.
    pub(in crate::cache) fn read(&mut self, keys: &[u64], out: &mut Vec<u8>) -> Vec<usize> {
        out.reserve(keys.len() * self.width);
        let there = |(i, key): (usize, &u64)| self.read_one(*key, out).then_some(i);
        keys.iter().enumerate().filter_map(there).collect()
    }

    /// Stores `rows`, one after the other, and replaces existing rows of the keys; of a key that
    /// occurs twice, the last. Stops at the first row that does not fit, and returns the number of
    /// keys stored.
    ///
    /// # Panics
    ///
    /// `rows` does not have one row of bytes for each key.
    pub(in crate::cache) fn write(&mut self, keys: &[u64], rows: &[u8]) -> usize {
        assert_eq!(rows.len(), keys.len() * self.width, "the bytes of {} rows", keys.len());
        keys.iter().for_each(|key| self.remove(*key));
        if self.width == 0 {
            self.places.extend(keys.iter().map(|key| (*key, Place::Nowhere)));
            return keys.len();
        }
        let tiers = match self.files {
            Files::Scratch(_) => [Self::write_memory, Self::write_disk],
            Files::Kept(_) => [Self::write_disk, Self::write_memory],
        };
        let write = |kept, tier: fn(&mut Self, &[u64], &[u8]) -> usize| {
            kept + tier(self, &keys[kept..], &rows[kept * self.width..])
        };
        let kept = tiers.into_iter().fold(0, write);
        // Otherwise a key that occurs twice and whose last row did not fit would keep the earlier
        // row.
        keys[kept..].iter().for_each(|key| self.remove(*key));
        if kept < keys.len() && self.account.is_writing() {
            self.account.full();
        }
        kept
    }

    /// Forgets the row of `key`, if there is one.
    pub(in crate::cache) fn remove(&mut self, key: u64) {
        let Some(place) = self.places.remove(&key) else { return };
        if let Some(ahead) = &mut self.ahead {
            ahead.forget(key);
        }
        self.free(place);
    }

    /// Starts reading those rows of `keys` that are in a file, on a thread, for the next call of
    /// [`read`](Self::read); with `lift` all rows, of which it makes tensors for [`lifted`](Self::lifted).
    pub(in crate::cache) fn read_ahead(&mut self, keys: &[u64], lift: Option<&Lift>) {
        let wanted = |key: &u64| match self.places.get(key)? {
            Place::Disk(at) => Some((*key, Source::Disk(Arc::clone(self.files.disk(*at)?), *at))),
            Place::Memory(at) if lift.is_some() => {
                let (chunk, start) = self.memory.place(*at);
                Some((*key, Source::Memory(chunk.clone(), start)))
            }
            _ => None,
        };
        let wanted: Vec<Wanted> = keys.iter().filter_map(wanted).collect();
        if wanted.is_empty() {
            return;
        }
        // Without a thread they are read when needed.
        let ahead = self.ahead.take().or_else(|| Ahead::new(self.width).ok());
        self.ahead = ahead.and_then(|mut ahead| ahead.ask(wanted, lift.cloned()).then_some(ahead));
    }

    /// The tensors that were made ahead of time, if the rows of all `keys` are among theirs.
    pub(in crate::cache) fn lifted(&mut self, keys: &[u64]) -> Option<Lifted<'_>> {
        let lifted = self.ahead.as_mut()?.lifted(keys)?;
        keys.iter().for_each(|_| self.account.was_ahead());
        Some(lifted)
    }

    /// Drops the tensors that were made ahead of time, if nobody took them.
    pub(in crate::cache) fn drop_lifted(&mut self) {
        if let Some(ahead) = &mut self.ahead {
            ahead.drop_lifted();
        }
    }

    fn read_one(&mut self, key: u64, out: &mut Vec<u8>) -> bool {
        match self.places.get(&key) {
            None => false,
            Some(Place::Nowhere) => true,
            Some(Place::Memory(at)) => {
                let (chunk, start) = self.memory.place(*at);
                chunk.read(start, self.width, |row| out.extend_from_slice(row));
                true
            }
            Some(Place::Disk(at)) => {
                let at = *at;
                self.read_disk(key, at, out)
            }
        }
    }

    fn read_disk(&mut self, key: u64, at: OnDisk, out: &mut Vec<u8>) -> bool {
        if let Some(row) = self.ahead.as_mut().and_then(|ahead| ahead.row(key)) {
            out.extend_from_slice(row);
            self.account.was_ahead();
            return true;
        }
        let Some(disk) = self.files.disk(at) else { return false };
        let start = out.len();
        out.resize(start + self.width, 0);
        let read = read_row(&**disk, &mut out[start..], at);
        if let Err(error) = &read {
            out.truncate(start);
            self.account.lost(error);
            self.remove(key);
        }
        read.is_ok()
    }

    /// Writes rows to memory; returns how many fit.
    fn write_memory(&mut self, keys: &[u64], rows: &[u8]) -> usize {
        for (i, (key, row)) in keys.iter().zip(rows.chunks_exact(self.width)).enumerate() {
            let Some(at) = self.memory.put(row) else { return i };
            self.insert(*key, Place::Memory(at));
        }
        keys.len()
    }

    /// Writes rows to a file; returns how many fit.
    fn write_disk(&mut self, keys: &[u64], rows: &[u8]) -> usize {
        let places = self.files.put(keys, rows);
        for (key, at) in keys.iter().zip(&places) {
            self.insert(*key, Place::Disk(*at));
        }
        places.len()
    }

    fn insert(&mut self, key: u64, place: Place) {
        if let Some(earlier) = self.places.insert(key, place) {
            self.free(earlier);
        }
    }

    fn free(&mut self, place: Place) {
        match place {
            Place::Nowhere => {}
            Place::Memory(at) => self.memory.free(at),
            Place::Disk(at) => self.files.free(at),
        }
    }
}
