//! Processes as ranks, by MPI.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use half::bf16;
use half::slice::HalfFloatSliceExt as _;
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _, Equivalence, Root as _};

use super::collective::{Collective, Numbers};
use crate::error::{Error, Result};

/// A process among those that `mpirun` has started, on one machine or on many.
///
/// The program is the same as with one process; `mpirun -np 4 program` starts it four times. Started without
/// `mpirun` it is one rank. Needs the feature `mpi` and an MPI library of the system: `scripts/install-mpi.sh`.
///
/// ```no_run
/// use freeze_core::parallel::{Collective, Mpi, Numbers};
///
/// let mpi = Mpi::new()?;
/// let mut numbers = [mpi.rank() as f32 + 1.0];
/// mpi.all_reduce(Numbers::F32(&mut numbers))?; // 3 on two ranks
/// # Ok::<(), freeze_core::Error>(())
/// ```
///
/// MPI ends with this value, which waits for the other ranks: have it outlive all that they do together, and drop
/// it on the thread that has made it, as the standard asks (section 11.2.2 of MPI 4.0). A rank that dies, or a
/// call that fails within MPI, ends all ranks with MPI's own message.
pub struct Mpi {
    rank: usize,
    size: usize,
    /// At the level `Serialized` calls may come from any thread, one at a time: what makes a call has the lock.
    universe: Mutex<Universe>,
}

/// Elements of a piece for each rank: messages long enough for a network, a copy short enough for a cache.
const SHARE: usize = 1 << 15;

/// The most elements of a piece; MPI counts in `i32`.
const MOST: usize = 1 << 22;

impl Mpi {
    /// Begins with MPI. A process can do that once.
    ///
    /// # Errors
    ///
    /// MPI has begun in this process before, or the library does not let several threads make calls.
    pub fn new() -> Result<Self> {
        let Some((universe, given)) = mpi::initialize_with_threading(Threading::Serialized) else {
            return Err(Error::mpi(
                "it has begun in this process before; make one `Mpi` for the whole program, and share it by \
                 the clones of a `Group`",
            ));
        };
        if given < Threading::Serialized {
            return Err(Error::mpi(format!(
                "the library gives threads the level `{given:?}`, which is below `Serialized`; use one that is \
                 built with threads",
            )));
        }
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        Ok(Self { rank, size, universe: Mutex::new(universe) })
    }

    fn calls(&self) -> Calls<'_> {
        let universe = self.universe.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = (SHARE * self.size).min(MOST);
        Calls { world: universe.world(), size: self.size, piece, _universe: universe }
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mpi").field("rank", &self.rank).field("size", &self.size).finish()
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_reduce(&self, numbers: Numbers<'_>) -> Result<()> {
        let calls = self.calls();
        match numbers {
            Numbers::F32(numbers) => calls.sum(numbers),
            Numbers::F64(numbers) => calls.sum(numbers),
            Numbers::Bf16(numbers) => calls.sum_halves(numbers),
        }
        Ok(())
    }

    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()> {
        if root >= self.size {
            return Err(Error::count("root", root, "less than the number of ranks"));
        }
        let calls = self.calls();
        let root = calls.world.process_at_rank(root as i32);
        bytes.chunks_mut(calls.piece).for_each(|piece| root.broadcast_into(piece));
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8], all: &mut [u8]) -> Result<()> {
        if all.len() != bytes.len() * self.size {
            return Err(Error::count("all.len()", all.len(), "the bytes of all ranks"));
        }
        // The address of an empty slice of bytes is 1, which Open MPI takes for `MPI_IN_PLACE`.
        if bytes.is_empty() {
            return Ok(());
        }
        let calls = self.calls();
        if all.len() <= calls.piece {
            calls.world.all_gather_into(bytes, all);
            return Ok(());
        }
        let most = (calls.piece / self.size).max(1);
        let mut brought = vec![0; most * self.size];
        for (index, piece) in bytes.chunks(most).enumerate() {
            let brought = &mut brought[..piece.len() * self.size];
            calls.world.all_gather_into(piece, brought);
            let places = all.chunks_exact_mut(bytes.len());
            for (place, brought) in places.zip(brought.chunks_exact(piece.len())) {
                place[index * most..][..piece.len()].copy_from_slice(brought);
            }
        }
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        self.calls().world.barrier();
        Ok(())
    }
}

/// The right to make calls.
struct Calls<'a> {
    world: SimpleCommunicator,
    size: usize,
    /// The elements of one call of MPI's.
    piece: usize,
    _universe: MutexGuard<'a, Universe>,
}

impl Calls<'_> {
    fn sum<T: Equivalence + Copy>(&self, numbers: &mut [T]) {
        let mut own = Vec::with_capacity(numbers.len().min(self.piece));
        for piece in numbers.chunks_mut(self.piece) {
            own.clear();
            own.extend_from_slice(piece);
            self.world.all_reduce_into(&own[..], piece, SystemOperation::sum());
        }
    }

    /// MPI knows no halves. Each rank gets its share of the numbers from all others, adds them up by rank and
    /// hands the rounded sums to all: as many bytes as a ring would send.
    fn sum_halves(&self, numbers: &mut [bf16]) {
        let most = numbers.len().min(self.piece).div_ceil(self.size);
        let mut own = vec![0_u16; most * self.size];
        let mut brought = own.clone();
        let mut sums = vec![0_f32; most];
        for piece in numbers.chunks_mut(self.piece) {
            let share = piece.len().div_ceil(self.size);
            let (own, brought) = (&mut own[..share * self.size], &mut brought[..share * self.size]);
            own[..piece.len()].copy_from_slice(piece.reinterpret_cast());
            self.world.all_to_all_into(&*own, brought);
            let sums = &mut sums[..share];
            sums.fill(0.0);
            for theirs in brought.chunks_exact(share) {
                let halves = theirs.iter().map(|&bits| bf16::from_bits(bits).to_f32());
                sums.iter_mut().zip(halves).for_each(|(sum, half)| *sum += half);
            }
            let rounded = &mut brought[..share];
            rounded
                .iter_mut()
                .zip(sums)
                .for_each(|(bits, sum)| *bits = bf16::from_f32(*sum).to_bits());
            self.world.all_gather_into(&*rounded, own);
            let sums = &own[..piece.len()];
            piece.reinterpret_cast_mut().copy_from_slice(sums);
        }
    }
}
