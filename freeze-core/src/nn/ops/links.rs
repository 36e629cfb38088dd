//! Gradients that go from one operation to the next past candle's store.
//!
//! For each tensor candle fills zeros and adds to them what operations return, on threads that spin until
//! all are done. So of an operation on the CPU candle's graph has a *stand-in*, whose value is one number;
//! the result hangs on it, as a node of its own. The next operation takes the stand-in for its operand and
//! puts the gradient into the stand-in's *inbox*, under a number. Numbers are what candle adds up; their
//! sum says what of an inbox belongs to this backward.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use candle_core::{Device, Result, Tensor, TensorId, bail};

use crate::kernel::slices::{tensor, with2};
use crate::kernel::{by_real, sum, zip_map};

/// What stands for a result in candle's graph.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) stand_in: Tensor,
    pub(super) inbox: Arc<Inbox>,
}

/// The links of all results that are alive.
static LINKS: LazyLock<Mutex<HashMap<TensorId, Link>>> = LazyLock::new(Default::default);

fn links() -> MutexGuard<'static, HashMap<TensorId, Link>> {
    LINKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The link of a tensor, if it is a result that has one.
pub(super) fn of(tensor: &Tensor) -> Option<Link> {
    links().get(&tensor.id()).cloned()
}

pub(super) fn insert(id: TensorId, link: Link) {
    links().insert(id, link);
}

pub(super) fn remove(id: TensorId) {
    let link = links().remove(&id);
    // Here the lock is free again: with a stand-in other results may go.
    drop(link);
}

/// Gradients of one result that wait for its stand-in's turn.
#[derive(Default)]
pub(super) struct Inbox(Mutex<Vec<Letter>>);

struct Letter {
    number: u64,
    /// Backwards of one graph may run on several threads at a time.
    thread: ThreadId,
    gradient: Tensor,
}

impl Inbox {
    /// Puts a gradient in and returns its number.
    pub(super) fn put(&self, gradient: &Tensor) -> Result<Tensor> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let letter = Letter { number, thread: thread::current().id(), gradient: gradient.detach() };
        self.letters().push(letter);
        Tensor::new(number as f64, &Device::Cpu)
    }

    /// Takes the gradients whose numbers have this sum, and adds them up.
    pub(super) fn take(&self, sum: &Tensor) -> Result<Tensor> {
        let mut missing = sum.to_scalar::<f64>()?;
        let mut gradients = self.chosen(&mut missing).into_iter().rev();
        match gradients.next() {
            Some(first) if missing == 0.0 => {
                gradients.try_fold(first, |sum, next| add(&sum, &next))
            }
            _ => bail!("gradients are missing, since a backward of the same graph has failed"),
        }
    }

    /// The newest gradients of this thread with numbers up to a sum, of which the rest is left. What a
    /// backward left behind that failed is older.
    fn chosen(&self, missing: &mut f64) -> Vec<Tensor> {
        let (mut letters, this) = (self.letters(), thread::current().id());
        let mut chosen = Vec::new();
        for place in (0..letters.len()).rev() {
            let Letter { number, thread, .. } = letters[place];
            if thread == this && number as f64 <= *missing {
                *missing -= number as f64;
                chosen.push(letters.remove(place).gradient);
            }
        }
        chosen
    }

    fn letters(&self) -> MutexGuard<'_, Vec<Letter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    by_real!(a.dtype(), T => {
        let sum = with2([a, b], |a: &[T], b: &[T]| {
            Ok(zip_map(a, b, sum))
        })?;
        tensor(sum, a.shape(), a.dtype())
    })
}
