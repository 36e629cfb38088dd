//! Reads the next batch while the current step runs.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use candle_core::Tensor;

use super::disk::{Disk, OnDisk, read_row};
use super::memory::Chunk;

/// A row to read, with its key.
pub(super) type Wanted = (u64, Source);

/// Where a row lies.
pub(super) enum Source {
    Disk(Arc<dyn Disk>, OnDisk),
    Memory(Chunk, usize),
}

/// Makes tensors of rows of bytes, one behind the other, such as on a card.
#[derive(Clone)]
pub(in crate::cache) struct Lift(pub(in crate::cache) Arc<Make>);

type Make = dyn Fn(&[u8]) -> candle_core::Result<Vec<Tensor>> + Send + Sync;

/// A thread that reads the rows of one batch ahead, and makes tensors of them if that is asked for. Their
/// memory is not part of the budget.
#[derive(Debug)]
pub(super) struct Ahead {
    width: usize,
    /// There is one until this is dropped.
    requests: Option<Sender<Request>>,
    answers: Receiver<Rows>,
    thread: Option<JoinHandle<()>>,
    is_pending: bool,
    rows: Rows,
}

struct Request {
    wanted: Vec<Wanted>,
    /// Memory for their rows.
    bytes: Vec<u8>,
    lift: Option<Lift>,
}

/// Rows one after the other, and the index of each.
#[derive(Debug, Default)]
struct Rows {
    bytes: Vec<u8>,
    index: HashMap<u64, usize>,
    /// What was made of all of them.
    lifted: Option<Vec<Tensor>>,
}

/// Rows that were read ahead, and the tensors that were made of them.
#[derive(Debug)]
pub(in crate::cache) struct Lifted<'a> {
    /// Of all rows that were asked for.
    pub(in crate::cache) tensors: Vec<Tensor>,
    /// Which of the tensors' rows those of the keys are.
    pub(in crate::cache) places: Vec<u32>,
    pub(in crate::cache) rows: Vec<&'a [u8]>,
}

impl Ahead {
    /// # Errors
    ///
    /// The system cannot start a thread.
    pub(super) fn new(width: usize) -> io::Result<Self> {
        let (requests, wanted) = channel::<Request>();
        let (read, answers) = channel();
        let work = move || {
            for request in wanted {
                if read.send(Rows::read(request, width)).is_err() {
                    break;
                }
            }
        };
        let thread = Some(thread::Builder::new().name("read-ahead".into()).spawn(work)?);
        let requests = Some(requests);
        Ok(Self { width, requests, answers, thread, is_pending: false, rows: Rows::default() })
    }

    /// Begins to read; rows read before that were not taken are dropped. `false` if the thread has ended.
    pub(super) fn ask(&mut self, wanted: Vec<Wanted>, lift: Option<Lift>) -> bool {
        self.wait();
        let bytes = std::mem::take(&mut self.rows).bytes;
        let request = Request { wanted, bytes, lift };
        self.is_pending = self.requests.as_ref().is_some_and(|to| to.send(request).is_ok());
        self.is_pending
    }

    /// The row of `key`, if it was read.
    pub(super) fn row(&mut self, key: u64) -> Option<&[u8]> {
        self.wait();
        Some(self.rows.of(*self.rows.index.get(&key)?, self.width))
    }

    /// Gives away the tensors, if the rows of all `keys` are among theirs.
    pub(super) fn lifted(&mut self, keys: &[u64]) -> Option<Lifted<'_>> {
        self.wait();
        let place = |key| self.rows.index.get(key).copied();
        let places = keys.iter().map(place).collect::<Option<Vec<usize>>>()?;
        let tensors = self.rows.lifted.take()?;
        let rows = places.iter().map(|at| self.rows.of(*at, self.width)).collect();
        Some(Lifted { tensors, places: places.into_iter().map(|at| at as u32).collect(), rows })
    }

    /// Drops the tensors.
    pub(super) fn drop_lifted(&mut self) {
        self.wait();
        self.rows.lifted = None;
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

/// The thread does not outlive this: nobody may ask a card for anything while the process ends.
impl Drop for Ahead {
    fn drop(&mut self) {
        self.requests = None;
        self.thread.take().map(JoinHandle::join);
    }
}

impl fmt::Debug for Lift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lift")
    }
}

impl Rows {
    /// Reads the rows that can be read; of all, tensors are made.
    fn read(Request { wanted, mut bytes, lift }: Request, width: usize) -> Self {
        bytes.resize(wanted.len() * width, 0);
        let rows = wanted.iter().zip(bytes.chunks_exact_mut(width)).enumerate();
        let index = rows.filter_map(|(i, ((key, source), row))| {
            source.read(row).ok()?;
            Some((*key, i))
        });
        let index: HashMap<u64, usize> = index.collect();
        let lift = lift.filter(|_| index.len() == wanted.len());
        let lifted = lift.and_then(|lift| {
            let failed = |error: &candle_core::Error| {
                tracing::debug!(%error, "records are not made tensors of ahead of time");
            };
            lift.0(&bytes).inspect_err(failed).ok()
        });
        Self { bytes, index, lifted }
    }

    fn of(&self, index: usize, width: usize) -> &[u8] {
        &self.bytes[index * width..][..width]
    }
}

impl Source {
    fn read(&self, row: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Disk(disk, at) => read_row(&**disk, row, *at),
            Self::Memory(chunk, at) => {
                chunk.read(*at, row.len(), |bytes| row.copy_from_slice(bytes));
                Ok(())
            }
        }
    }
}
