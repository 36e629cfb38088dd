//! Processes as ranks, by MPI.

mod calls;
mod sums;
mod wait;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use half::bf16;
use half::slice::HalfFloatSliceExt as _;
use mpi::Threading;
use mpi::environment::Universe;
use mpi::traits::Communicator as _;

use self::calls::Calls;
use self::sums::add_up;
use super::collective::{Collective, Numbers, not_on_host};
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
///
/// A sum sends two messages from each rank to every other, so it is for tens of ranks; `docs/SCALING.md` says what it costs
/// with more.
///
/// A rank that waits for the others looks again and again for a moment and then sleeps in between, so that it leaves
/// the core to who computes.
pub struct Mpi {
    rank: usize,
    size: usize,
    /// At the level `Serialized` calls may come from any thread, one at a time: what makes a call has the lock.
    universe: Mutex<Universe>,
}

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
        Calls::new(self.universe.lock().unwrap_or_else(PoisonError::into_inner), self.size)
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
            Numbers::F32(numbers) => add_up(&calls, numbers, |from| from, |sum: f32| sum),
            Numbers::F64(numbers) => add_up(&calls, numbers, |from| from, |sum: f64| sum),
            // MPI knows no halves.
            Numbers::Bf16(numbers) => {
                let wide = |bits| bf16::from_bits(bits).to_f32();
                let round = |sum: f32| bf16::from_f32(sum).to_bits();
                add_up(&calls, numbers.reinterpret_cast_mut(), wide, round);
            }
            Numbers::Tensor(numbers) => return Err(not_on_host(numbers)),
        }
        Ok(())
    }

    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()> {
        if root >= self.size {
            return Err(Error::count("root", root, "less than the number of ranks"));
        }
        let calls = self.calls();
        bytes.chunks_mut(calls.piece).for_each(|piece| calls.broadcast(piece, root));
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
            calls.all_gather(bytes, all);
            return Ok(());
        }
        let most = (calls.piece / self.size).max(1);
        let mut brought = vec![0; most * self.size];
        for (index, piece) in bytes.chunks(most).enumerate() {
            let brought = &mut brought[..piece.len() * self.size];
            calls.all_gather(piece, brought);
            let places = all.chunks_exact_mut(bytes.len());
            for (place, brought) in places.zip(brought.chunks_exact(piece.len())) {
                place[index * most..][..piece.len()].copy_from_slice(brought);
            }
        }
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        self.calls().barrier();
        Ok(())
    }
}
