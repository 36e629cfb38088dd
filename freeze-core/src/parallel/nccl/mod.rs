//! Cards as ranks, by NCCL.

mod card;
mod keeper;
mod together;

use std::time::Duration;

use candle_core::{Device, DeviceLocation, Tensor};

use self::card::Card;
use self::keeper::Keeper;
use self::together::{all_can, id_of_first};
use super::collective::{Collective, Numbers};
use crate::error::Result;

/// A CUDA card among those of a run, one for each rank: gradients are added up from card to card, by NCCL, and do not
/// pass through the host.
///
/// It works beside other ranks of the same numbers, [`Mpi`](super::Mpi) or, for several cards of one process,
/// [`Threads`](super::Threads): by these the ranks find each other, agree on each call and hand over what is not on a
/// card. Sums of halves, as of [`bf16`](super::Parallel::bf16), go there too: NCCL rounds them more than once.
///
/// ```no_run
/// # #[cfg(feature = "mpi")] {
/// use std::time::Duration;
/// use candle_core::Device;
/// use freeze_core::parallel::{Collective, Group, Mpi, Nccl};
///
/// let mpi = Mpi::new()?;
/// let card = Device::new_cuda(mpi.rank() % 8)?; // 8 cards in each machine, ranks machine by machine
/// let ranks = Group::new(Nccl::new(mpi, &card, Duration::from_secs(60))?);
/// # }
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// Needs the feature `nccl`, CUDA as the feature `cuda` does, and NCCL 2.18 or later. A call waits for all that the
/// card has been asked for, so [`within_backward`](super::Parallel::within_backward) hides little there. It has not been
/// run on cards yet, only on emulated ones.
#[derive(Debug)]
pub struct Nccl {
    ranks: Box<dyn Collective>,
    place: DeviceLocation,
    card: Keeper<Tensor>,
}

/// At least as long NCCL may take to begin: it loads its kernels then, for a minute on large cards.
const BEGIN: Duration = Duration::from_secs(120);

impl Nccl {
    /// Brings the cards together: every rank calls this, each with a card of its own. A call that has not ended within
    /// `patience` is an error. Ranks that are late are not meant, nor what a card has to do before: they are waited for
    /// before a call begins, when the ranks agree on it. To begin, NCCL has two minutes where `patience` is shorter.
    ///
    /// # Errors
    ///
    /// On every rank, if one of them has no card, NCCL refuses, as where two ranks have the same card, or a rank does
    /// not come within `patience`.
    pub fn new(
        ranks: impl Collective + 'static,
        device: &Device,
        patience: Duration,
    ) -> Result<Self> {
        let ranks: Box<dyn Collective> = Box::new(ranks);
        let stream = all_can(&*ranks, card::stream(device))?;
        let id = id_of_first(&*ranks, card::new_id)?;
        let (rank, size) = (ranks.rank(), ranks.size());
        let limits = (patience.max(BEGIN), patience);
        let meet = move || Card::new(stream, rank, size, &id, limits);
        let card = Keeper::start(limits, meet, |card, numbers: Tensor| card.add_up(&numbers));
        Ok(Self { card: all_can(&*ranks, card)?, place: device.location(), ranks })
    }
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn size(&self) -> usize {
        self.ranks.size()
    }

    fn adds_up_on(&self, device: &Device) -> bool {
        device.location() == self.place
    }

    fn wait_for(&self, numbers: &Numbers<'_>) -> Result<()> {
        match numbers {
            Numbers::Tensor(numbers) => card::wait_for(numbers),
            numbers => self.ranks.wait_for(numbers),
        }
    }

    fn all_reduce(&self, numbers: Numbers<'_>) -> Result<()> {
        match numbers {
            Numbers::Tensor(numbers) => {
                // Nothing new, where a group has asked for it.
                card::wait_for(numbers)?;
                self.card.ask(numbers.clone())
            }
            numbers => self.ranks.all_reduce(numbers),
        }
    }

    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()> {
        self.ranks.broadcast(bytes, root)
    }

    fn all_gather(&self, bytes: &[u8], all: &mut [u8]) -> Result<()> {
        self.ranks.all_gather(bytes, all)
    }

    fn barrier(&self) -> Result<()> {
        self.ranks.barrier()
    }

    fn leave(&self, why: &str) -> bool {
        self.ranks.leave(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::Threads;

    #[test]
    fn a_rank_without_a_card_is_an_error_on_all() {
        let begin = |rank: Threads| Nccl::new(rank, &Device::Cpu, Duration::from_secs(1));
        let ranks = Threads::ranks(3).expect("ranks").into_iter();
        let ranks: Vec<_> = ranks.map(|rank| std::thread::spawn(move || begin(rank))).collect();
        for rank in ranks {
            let error = rank.join().expect("no panic").expect_err("no card").to_string();
            assert!(error.contains("expected a CUDA card, found Cpu"), "{error}");
        }
    }
}
