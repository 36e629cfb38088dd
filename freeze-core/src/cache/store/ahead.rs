//! Reads the next batch while the current step runs.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::disk::{Disk, OnDisk, read_row};

/// A row to read, with its key.
pub(super) type Wanted = (u64, Arc<dyn Disk>, OnDisk);

/// A thread that reads the rows of one batch ahead. Their memory is not part of the budget.
#[derive(Debug)]
pub(super) struct Ahead {
    width: usize,
    requests: Sender<(Vec<Wanted>, Vec<u8>)>,
    answers: Receiver<Rows>,
    is_pending: bool,
    rows: Rows,
}

/// Rows one after the other, and the index of each.
#[derive(Debug, Default)]
struct Rows {
    bytes: Vec<u8>,
    index: HashMap<u64, usize>,
}

impl Ahead {
    /// # Errors
    ///
    /// The system cannot start a thread.
    pub(super) fn new(width: usize) -> io::Result<Self> {
        let (requests, wanted) = channel::<(Vec<Wanted>, Vec<u8>)>();
        let (read, answers) = channel();
        let work = move || {
            for (wanted, bytes) in wanted {
                if read.send(Rows::read(&wanted, bytes, width)).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().name("read-ahead".into()).spawn(work)?;
        Ok(Self { width, requests, answers, is_pending: false, rows: Rows::default() })
    }

    /// Begins to read; rows read before that were not taken are dropped.
    pub(super) fn ask(&mut self, wanted: Vec<Wanted>) {
        self.wait();
        self.rows.index.clear();
        let bytes = std::mem::take(&mut self.rows.bytes);
        self.is_pending = self.requests.send((wanted, bytes)).is_ok();
    }

    /// The row of `key`, if it was read.
    pub(super) fn row(&mut self, key: u64) -> Option<&[u8]> {
        self.wait();
        let index = *self.rows.index.get(&key)?;
        Some(&self.rows.bytes[index * self.width..][..self.width])
    }

    /// Drops the row of `key`, which has changed.
    pub(super) fn forget(&mut self, key: u64) {
        self.wait();
        self.rows.index.remove(&key);
    }

    fn wait(&mut self) {
        if std::mem::take(&mut self.is_pending) {
            self.rows = self.answers.recv().unwrap_or_default();
        }
    }
}

impl Rows {
    /// Reads the rows that can be read.
    fn read(wanted: &[Wanted], mut bytes: Vec<u8>, width: usize) -> Self {
        bytes.resize(wanted.len() * width, 0);
        let rows = wanted.iter().zip(bytes.chunks_exact_mut(width)).enumerate();
        let index = rows.filter_map(|(i, ((key, disk, at), row))| {
            read_row(&**disk, row, *at).ok()?;
            Some((*key, i))
        });
        Self { index: index.collect(), bytes }
    }
}
