//! The calls of MPI's, each of which is waited for.

use std::sync::MutexGuard;

use mpi::environment::Universe;
use mpi::request::scope;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _, Equivalence, Root as _};

use super::wait::wait;

/// Elements of a piece for each rank: so long that waiting for the others weighs little, so short that what came from
/// them is still in a cache when it is added up.
const SHARE: usize = 1 << 19;

/// The most elements of a piece; MPI counts in `i32`.
const MOST: usize = 1 << 22;

/// The right to make calls.
pub(super) struct Calls<'a> {
    world: SimpleCommunicator,
    pub(super) size: usize,
    /// The most elements of one call, a whole number for each rank.
    pub(super) piece: usize,
    _universe: MutexGuard<'a, Universe>,
}

impl<'a> Calls<'a> {
    pub(super) fn new(universe: MutexGuard<'a, Universe>, size: usize) -> Self {
        let piece = SHARE.min(MOST / size).max(1) * size;
        Self { world: universe.world(), size, piece, _universe: universe }
    }

    /// Replaces what is there by that of the rank `root`.
    pub(super) fn broadcast<T: Equivalence>(&self, piece: &mut [T], root: usize) {
        let root = self.world.process_at_rank(root as i32);
        scope(|scope| wait(root.immediate_broadcast_into(scope, piece)));
    }

    /// Writes what each rank has to `all`, by rank.
    pub(super) fn all_gather<T: Equivalence>(&self, own: &[T], all: &mut [T]) {
        scope(|scope| wait(self.world.immediate_all_gather_into(scope, own, all)));
    }

    /// Cuts what each rank has into as many parts as there are ranks, and writes to `brought` this rank's parts, by
    /// the rank that they come from.
    pub(super) fn all_to_all<T: Equivalence>(&self, own: &[T], brought: &mut [T]) {
        scope(|scope| wait(self.world.immediate_all_to_all_into(scope, own, brought)));
    }

    pub(super) fn barrier(&self) {
        wait(self.world.immediate_barrier());
    }
}
