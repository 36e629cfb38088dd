//! Ranks of a program that `mpirun` may have started.

use freeze_core::parallel::Group;
use freeze_core::{Freezable, Training};

use super::Result;

/// The ranks that share a program's runs; without the feature `mpi` this process alone.
pub(crate) struct Ranks(Option<Group>);

impl Ranks {
    /// Begins with MPI, with the feature `mpi`. A process can do that once.
    ///
    /// # Errors
    ///
    /// Those of MPI.
    pub(crate) fn start() -> Result<Self> {
        #[cfg(feature = "mpi")]
        let group = Some(Group::new(freeze_core::parallel::Mpi::new()?));
        #[cfg(not(feature = "mpi"))]
        let group: Option<Group> = None;
        Ok(Self(group.filter(|group| group.size() > 1)))
    }

    /// Whether this one prints and writes.
    pub(crate) fn leads(&self) -> bool {
        self.0.as_ref().is_none_or(Group::leads)
    }

    /// This rank's part of a batch; empty where there are fewer samples than ranks.
    pub(crate) fn share<'a>(&self, batch: &'a [u32]) -> &'a [u32] {
        let (rank, ranks) = self.0.as_ref().map_or((0, 1), |group| (group.rank(), group.size()));
        let at = |rank: usize| batch.len() * rank / ranks;
        &batch[at(rank)..at(rank + 1)]
    }

    /// The run, shared by these ranks.
    pub(crate) fn shared<M: Freezable>(&self, run: Training<M>) -> Training<M> {
        match &self.0 {
            Some(group) => run.parallel(group.clone()),
            None => run,
        }
    }
}
