//! Gradients that go from one operation to the next past candle's store.
//!
//! For each tensor candle fills zeros and adds to them what operations return, on threads that spin until
//! all are done. So of an operation on the CPU candle's graph has a *stand-in*, whose value is one number;
//! the result hangs on it, as a node of its own. The next operation takes the stand-in for its operand and
//! puts the gradient into the stand-in's *inbox*, under a number. Numbers are what candle adds up; their
//! sum says what of an inbox belongs to this backward. A pass takes what was put in by itself alone.
//!
//! On a CUDA card each of candle's zeros and sums is a launch, even of one number, so there a stand-in has no
//! elements at all, which candle neither fills nor adds. Of an inbox the newest letter of each sender counts
//! then: what a backward left behind that failed is older. After candle's own `loss.backward()` has failed the
//! graph has to be made again, since another loss of it may not come to all of those senders, whose letters would
//! count. A pass of [`backward`](crate::nn::backward()) takes no letters of another.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Result, Tensor, TensorId, bail};

use crate::kernel::slices::{tensor, with2};
use crate::kernel::{by_real, sum, zip_map};
use crate::nn::backward::Pass;

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
    /// The node whose operand the result is, and which one.
    sender: (TensorId, usize),
    pass: Pass,
    gradient: Tensor,
}

impl Inbox {
    /// Puts a gradient in and returns what candle gets in its place for `stand_in`.
    pub(super) fn put(
        &self,
        sender: (TensorId, usize),
        gradient: &Tensor,
        stand_in: &Tensor,
    ) -> Result<Tensor> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let (pass, gradient) = (Pass::now(), gradient.detach());
        let mut letters = self.letters();
        // What candle's walk does not come to, as behind a rounded number, takes none of its letters.
        letters.retain(|letter| !letter.pass.is_over());
        letters.push(Letter { number, sender, pass, gradient });
        drop(letters);
        match stand_in.device() {
            Device::Cpu => Tensor::new(number as f64, &Device::Cpu),
            _ => Ok(stand_in.detach()),
        }
    }

    /// Takes the gradients whose numbers have this sum, and adds them up.
    pub(super) fn take(&self, sum: &Tensor) -> Result<Tensor> {
        let (gradients, missing) = match sum.device() {
            Device::Cpu => self.chosen(sum.to_scalar()?),
            _ => (self.newest(), 0.0),
        };
        let mut gradients = gradients.into_iter().rev();
        match gradients.next() {
            Some(first) if missing == 0.0 => {
                gradients.try_fold(first, |sum, next| add(&sum, &next))
            }
            _ => bail!("gradients are missing, since a backward of the same graph has failed"),
        }
    }

    /// The newest gradients of this pass with numbers up to a sum, and the rest of the sum. What a
    /// backward left behind that failed is older.
    fn chosen(&self, mut missing: f64) -> (Vec<Tensor>, f64) {
        let (mut letters, this) = (self.letters(), Pass::now());
        let mut chosen = Vec::new();
        for place in (0..letters.len()).rev() {
            let Letter { number, pass, .. } = letters[place];
            if pass == this && number as f64 <= missing {
                missing -= number as f64;
                chosen.push(letters.remove(place).gradient);
            }
        }
        (chosen, missing)
    }

    /// The newest gradient of each sender, of this pass; all of its letters go.
    fn newest(&self) -> Vec<Tensor> {
        let (mut letters, this) = (self.letters(), Pass::now());
        let (own, others) = letters.drain(..).rev().partition(|letter| letter.pass == this);
        *letters = others;
        letters.reverse();
        let (own, mut senders): (Vec<Letter>, HashSet<_>) = (own, HashSet::new());
        let newest = own.into_iter().filter(|letter| senders.insert(letter.sender));
        newest.map(|letter| letter.gradient).collect()
    }

    fn letters(&self) -> MutexGuard<'_, Vec<Letter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !a.device().is_cpu() {
        return a + b;
    }
    by_real!(a.dtype(), T => {
        let sum = with2([a, b], |a: &[T], b: &[T]| {
            Ok(zip_map(a, b, sum))
        })?;
        tensor(sum, a.shape(), a.dtype())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::backward::Graph;

    /// A letter waits while a pass within puts in two and takes them: what that one took, and what the one around it
    /// takes then.
    fn nested(take: fn(&Inbox, &Tensor) -> Result<Tensor>) -> Result<[f64; 2]> {
        let (inbox, stand_in) = (Inbox::default(), Tensor::new(0f64, &Device::Cpu)?);
        let put = |sender: usize, gradient: f64| {
            inbox.put((stand_in.id(), sender), &Tensor::new(gradient, &Device::Cpu)?, &stand_in)
        };
        let outer = put(0, 1.0)?;
        let inner = Pass::begin(Graph::Retained, || take(&inbox, &(put(0, 2.0)? + put(1, 4.0)?)?))?;
        Ok([inner.to_scalar()?, take(&inbox, &outer)?.to_scalar()?])
    }

    #[test]
    fn letters_that_nobody_takes_are_not_gathered() -> Result<()> {
        let (inbox, stand_in) = (Inbox::default(), Tensor::new(0f64, &Device::Cpu)?);
        for graph in [Graph::Retained, Graph::Released, Graph::Retained] {
            let put = || inbox.put((stand_in.id(), 0), &stand_in, &stand_in);
            Pass::begin(graph, || put().and_then(|_| put()))?;
            assert_eq!(inbox.letters().len(), 2, "those of this pass");
        }
        Ok(())
    }

    #[test]
    fn a_pass_leaves_the_letters_of_the_one_around_it() -> Result<()> {
        let newest = |inbox: &Inbox, _: &Tensor| {
            let letters = inbox.newest();
            letters.iter().try_fold(Tensor::new(0f64, &Device::Cpu)?, |sum, next| sum + next)
        };
        assert_eq!(nested(newest)?, [6.0, 1.0]);
        assert_eq!(nested(Inbox::take)?, [6.0, 1.0]);
        Ok(())
    }
}
