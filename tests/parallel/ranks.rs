//! The ranks that run a case.

use std::sync::Arc;
use std::thread;

use freeze_core::Result;
use freeze_core::parallel::{Collective, Numbers, Threads};

#[cfg(feature = "mpi")]
use crate::processes;

/// A rank that may be handed on again and again, as one after another of a case's runs needs it.
#[derive(Clone, Debug)]
pub struct Rank(Arc<dyn Collective>);

/// What every rank does; it panics where something is wrong.
pub type Case = fn(Rank);

impl Rank {
    pub fn new(collective: Arc<dyn Collective>) -> Self {
        Self(collective)
    }
}

impl Collective for Rank {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn all_reduce(&self, numbers: Numbers<'_>) -> Result<()> {
        self.0.all_reduce(numbers)
    }

    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()> {
        self.0.broadcast(bytes, root)
    }

    fn all_gather(&self, bytes: &[u8], all: &mut [u8]) -> Result<()> {
        self.0.all_gather(bytes, all)
    }

    fn barrier(&self) -> Result<()> {
        self.0.barrier()
    }
}

/// Runs a case on 1 to 4 ranks that are threads, and on 2 to 4 that are processes.
pub fn run(name: &str, case: Case) {
    #[cfg(feature = "mpi")]
    if processes::is_one() {
        return processes::be_one(case);
    }
    (1..=4).for_each(|size| over_threads(size, case));
    #[cfg(feature = "mpi")]
    (2..=4).for_each(|size| processes::start(size, name));
    let _ = name; // of the process
}

fn over_threads(size: usize, case: Case) {
    thread::scope(|scope| {
        for rank in Threads::ranks(size).expect("ranks") {
            scope.spawn(move || case(Rank::new(Arc::new(rank))));
        }
    });
}
