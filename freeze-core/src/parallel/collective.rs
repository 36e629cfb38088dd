//! The trait `Collective`: what ranks do together.

use std::fmt;

use candle_core::{Device, Tensor};
use half::bf16;

use crate::error::{Error, Result};
use crate::kernel::bytes_of;

/// The operations that the ranks of a group carry out together: processes by MPI, devices by NCCL, or
/// [`Threads`](super::Threads).
///
/// Every rank makes the same calls in the same order, with the same lengths; a call returns when its
/// result is there. [`Group`](super::Group) sees to that: it lets the ranks agree on each call before it
/// is made, so an implementation needs no checks of its own.
pub trait Collective: fmt::Debug + Send + Sync {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Whether it adds up [`Numbers::Tensor`] where they are, on this device. Others are brought to the host.
    fn adds_up_on(&self, _device: &Device) -> bool {
        false
    }

    /// Waits until the numbers are there, where a device may not be done with them. [`Group`](super::Group) asks for
    /// this before the ranks agree on a call, so that none of them waits for another's device within it.
    ///
    /// # Errors
    ///
    /// The device has failed.
    fn wait_for(&self, _numbers: &Numbers<'_>) -> Result<()> {
        Ok(())
    }

    /// Replaces each element by its sum over all ranks. The order of the sum depends on nothing but the
    /// number of ranks and of elements, and all ranks get the same bits.
    ///
    /// # Errors
    ///
    /// A rank cannot be reached, or the numbers are on a device that it does not [add up on](Self::adds_up_on).
    fn all_reduce(&self, numbers: Numbers<'_>) -> Result<()>;

    /// Replaces `bytes` by those of the rank `root`.
    ///
    /// # Errors
    ///
    /// A rank cannot be reached.
    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()>;

    /// Writes the `bytes` of every rank to `all`, one after the other by rank: `all` is
    /// [`size`](Self::size) times as long.
    ///
    /// # Errors
    ///
    /// A rank cannot be reached.
    fn all_gather(&self, bytes: &[u8], all: &mut [u8]) -> Result<()>;

    /// Waits until all ranks have come here.
    ///
    /// # Errors
    ///
    /// A rank cannot be reached.
    fn barrier(&self) -> Result<()> {
        self.all_gather(&[0], &mut vec![0; self.size()])
    }

    /// Tells the others that this rank comes no more, and why, without waiting for them: their calls that are
    /// not complete, and all later ones, are errors that say so. `false` if it cannot;
    /// [`Group`](super::Group) then tells them at their next call, and waits for it.
    fn leave(&self, _why: &str) -> bool {
        false
    }
}

/// Numbers to add up over the ranks.
#[derive(Debug)]
pub enum Numbers<'a> {
    /// Of 4 bytes, added in `f32`.
    F32(&'a mut [f32]),
    /// Of 8 bytes, added in `f64`.
    F64(&'a mut [f64]),
    /// Of 2 bytes, added in `f32` and rounded once.
    Bf16(&'a mut [bf16]),
    /// The elements of a contiguous tensor of `f32` or `f64`, on a device that the ranks [add up
    /// on](Collective::adds_up_on).
    Tensor(&'a Tensor),
}

impl Numbers<'_> {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(numbers) => numbers.len(),
            Self::F64(numbers) => numbers.len(),
            Self::Bf16(numbers) => numbers.len(),
            Self::Tensor(numbers) => numbers.elem_count(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the numbers.
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(numbers) => size_of_val(*numbers),
            Self::F64(numbers) => size_of_val(*numbers),
            Self::Bf16(numbers) => size_of_val(*numbers),
            Self::Tensor(numbers) => bytes_of(numbers),
        }
    }
}

/// The error of ranks that add up numbers of the host alone.
pub(super) fn not_on_host(numbers: &Tensor) -> Error {
    let device = numbers.device();
    Error::training(format!(
        "these ranks add up numbers of the host alone, found some on {device:?}; bring them there"
    ))
}
