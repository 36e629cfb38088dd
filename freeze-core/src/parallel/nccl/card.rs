//! The card of this rank, in NCCL's hands.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream};
use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, NcclType, ReduceOp};
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr as _};
use candle_core::{
    CpuStorage, CudaStorage, Device, InplaceOp1, Layout, Result as Candle, Tensor, bail,
};

use super::keeper::late;
use crate::error::{Error, Result};

/// The longest sleep between two looks at a card.
const NAP: Duration = Duration::from_micros(200);

/// The stream that candle works on with this card.
pub(super) fn stream(device: &Device) -> Result<Arc<CudaStream>> {
    match device {
        Device::Cuda(card) => Ok(card.cuda_stream()),
        _ => Err(Error::nccl(format!("expected a CUDA card, found {device:?}"))),
    }
}

/// Waits for all that the card has been asked for, on any thread: candle's stream is another one on each, so that nothing
/// that is asked for here is behind what makes the numbers.
pub(super) fn wait_for(numbers: &Tensor) -> Result<()> {
    Ok(stream(numbers.device())?.context().synchronize().w()?)
}

/// A name under which ranks find each other.
pub(super) fn new_id() -> Result<[u8; 128]> {
    let id = Id::new().map_err(|error| said("finding a name for the ranks", &error))?;
    Ok(id.internal().map(|byte| byte.to_ne_bytes()[0]))
}

/// It stays on the thread that has made it.
pub(super) struct Card {
    comm: Comm,
    patience: Duration,
}

impl Card {
    /// Waits for the other ranks, and adds something up: cards connect with their first sum.
    pub(super) fn new(
        stream: Arc<CudaStream>,
        rank: usize,
        size: usize,
        id: &[u8; 128],
        (begin, patience): (Duration, Duration),
    ) -> Result<Self> {
        // NCCL takes the card that the thread is at.
        stream.context().bind_to_thread().w()?;
        let mut one = stream.clone_htod(&[1f32]).w()?;
        let id = Id::uninit(id.map(|byte| std::ffi::c_char::from_ne_bytes([byte])));
        let comm = Comm::from_rank(stream, rank, size, id);
        let comm = comm.map_err(|error| said("meeting the other ranks", &error))?;
        let sum = comm.all_reduce_in_place(&mut one, &ReduceOp::Sum);
        sum.map_err(|error| said("the first sum", &error))?;
        let card = Self { comm, patience };
        card.wait(begin)?;
        Ok(card)
    }

    /// Replaces each number by its sum over the ranks.
    pub(super) fn add_up(&self, numbers: &Tensor) -> Result<()> {
        numbers.inplace_op1(&Sum(&self.comm))?;
        self.wait(self.patience)
    }

    /// Waits until the card has done what was asked of it here.
    fn wait(&self, patience: Duration) -> Result<()> {
        let (start, end) = (Instant::now(), self.comm.stream().record_event(None).w()?);
        while !end.try_is_complete().w()? {
            match start.elapsed() {
                waited if waited > patience => return Err(late(patience)),
                waited => sleep((waited / 8).min(NAP)),
            }
        }
        Ok(())
    }
}

fn said(doing: &str, error: &NcclError) -> Error {
    Error::nccl(format!("{doing} ended with {:?}; set NCCL_DEBUG=INFO to see why", error.0))
}

struct Sum<'a>(&'a Comm);

impl Sum<'_> {
    fn of<T: NcclType>(&self, numbers: &mut CudaSlice<T>, layout: &Layout) -> Candle<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("expected contiguous numbers to add up")
        };
        let mut numbers = numbers.slice_mut(start..end);
        let sum = self.0.all_reduce_in_place(&mut numbers, &ReduceOp::Sum);
        sum.map(|_| ()).map_err(|error| said("a sum", &error).into())
    }
}

impl InplaceOp1 for Sum<'_> {
    fn name(&self) -> &'static str {
        "sum over ranks"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Candle<()> {
        bail!("expected numbers on a CUDA card, found them on the host")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Candle<()> {
        match &mut storage.slice {
            CudaStorageSlice::F32(numbers) => self.of(numbers, layout),
            CudaStorageSlice::F64(numbers) => self.of(numbers, layout),
            _ => bail!("expected f32 or f64 to add up over ranks"),
        }
    }
}
