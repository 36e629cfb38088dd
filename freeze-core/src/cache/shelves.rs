//! Records of one width together.

use std::collections::BTreeMap;

use super::store::Records;

/// How long records exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// As long as the cache.
    Cache,
    /// Later runs find them.
    Kept,
}

/// Which records are together: those of one width, so that one that is extended to the same width stays in
/// its place; and if they are kept, of one number of stages.
pub(super) type Shelf = (usize, usize);

/// Records by width.
#[derive(Debug)]
pub(super) struct Shelves {
    pub(super) lifetime: Lifetime,
    records: BTreeMap<Shelf, Records>,
}

impl Shelves {
    pub(super) fn new(lifetime: Lifetime) -> Self {
        Self { lifetime, records: BTreeMap::new() }
    }

    /// The shelf of activations of this width after `depth` stages.
    pub(super) fn shelf(&self, depth: usize, width: usize) -> Shelf {
        match self.lifetime {
            Lifetime::Cache => (width, 0),
            Lifetime::Kept => (width, depth),
        }
    }

    /// The number of bytes behind each row: the fingerprint of the input, if it is kept with the row.
    pub(super) fn tail(&self) -> usize {
        match self.lifetime {
            Lifetime::Cache => 0,
            Lifetime::Kept => size_of::<u64>(),
        }
    }

    pub(super) fn get_mut(&mut self, shelf: Shelf) -> Option<&mut Records> {
        self.records.get_mut(&shelf)
    }

    pub(super) fn add(&mut self, shelf: Shelf, records: Records) {
        self.records.insert(shelf, records);
    }

    pub(super) fn contains(&self, shelf: Shelf, key: u64) -> bool {
        self.records.get(&shelf).is_some_and(|records| records.contains(key))
    }

    /// The number of records.
    pub(super) fn records(&self) -> usize {
        self.records.values().map(Records::len).sum()
    }

    /// Writes rows, as many as fit, and returns their number. Where not all fit, wider rows, which are of
    /// earlier stages, are dropped for them.
    pub(super) fn write(&mut self, shelf: Shelf, keys: &[u64], rows: &[u8]) -> usize {
        let written = self.append(shelf, keys, rows);
        if written == keys.len() || self.lifetime == Lifetime::Kept {
            return written;
        }
        let wider = self.records.split_off(&(shelf.0 + 1, 0));
        if wider.is_empty() {
            return written;
        }
        drop(wider);
        let width = rows.len() / keys.len();
        written + self.append(shelf, &keys[written..], &rows[written * width..])
    }

    pub(super) fn remove(&mut self, key: u64) {
        self.records.values_mut().for_each(|records| records.remove(key));
    }

    /// Removes the record of `key` from all other shelves.
    pub(super) fn forget_elsewhere(&mut self, key: u64, shelf: Shelf) {
        let others = self.records.iter_mut().filter(|(other, _)| **other != shelf);
        others.for_each(|(_, records)| records.remove(key));
        if self.lifetime == Lifetime::Cache {
            self.records.retain(|other, records| *other == shelf || records.len() > 0);
        }
    }

    /// Drops empty shelves, with the memory that they hold; files that later runs find stay open.
    pub(super) fn drop_empty(&mut self) {
        if self.lifetime == Lifetime::Cache {
            self.records.retain(|_, records| records.len() > 0);
        }
    }

    /// Drops empty shelves and those of more than `depth` stages.
    pub(super) fn drop_beyond(&mut self, depth: usize) {
        self.records.retain(|(_, at), records| *at <= depth && records.len() > 0);
    }

    /// Drops tensors that were made ahead of time and not taken.
    pub(super) fn drop_lifted(&mut self) {
        self.records.values_mut().for_each(Records::drop_lifted);
    }

    fn append(&mut self, shelf: Shelf, keys: &[u64], rows: &[u8]) -> usize {
        self.records.get_mut(&shelf).map_or(0, |records| records.write(keys, rows))
    }
}
