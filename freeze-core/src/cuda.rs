//! Settings and figures of CUDA cards; with the feature `cuda`.
//!
//! On a card the layers of [`nn`](crate::nn) and the optimizers run kernels of their own, compiled when each is first
//! used, which takes about a second for each kind. A training step asks the card for the loss and for whether the
//! gradients are finite; between these nothing waits for it.

use candle_core::{CudaDevice, Device, Result, bail};

use crate::kernel::cuda::memory::{self, KEPT, PEAK, RESERVED, USED};

/// Prepares a card for training: call it once, before the model is made.
///
/// - Memory that tensors leave behind is kept for the next ones. Else the driver takes back what is free whenever the
///   host waits for the card, and maps it anew for the tensors after that. Other processes do not get what is kept;
///   `nvidia-smi` counts it as used. This holds for all of the process on that card.
/// - Tensors of this device get no events, of which candle otherwise makes two for each. They order the use of a
///   tensor on several streams; candle itself uses one for each device and thread, so only code that makes streams of
///   its own by cudarc needs them, and must not call this.
///
/// With or without this, one thread's work on a card does not wait for another's: call `device.synchronize()` before a
/// tensor is handed to another thread. Threads that compute at a time want a device each, by `Device::new_cuda` and not
/// as a clone: cuBLAS is not made for two threads at one handle.
///
/// # Errors
///
/// The device is not a CUDA card, or the driver refuses.
pub fn prepare(device: &Device) -> Result<()> {
    let card = card(device)?;
    memory::set(card, KEPT, u64::MAX)?;
    memory::leave_out_events(card);
    Ok(())
}

/// Bytes on a card that belong to this process's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Of tensors that are alive.
    pub used: u64,
    /// The most of these since [`reset_peak`], or since the process began.
    pub peak: u64,
    /// These and what is kept for the next ones.
    pub reserved: u64,
}

/// The bytes of this process's tensors on a card. Waits for the card first, since tensors are freed in turn with its
/// work.
///
/// # Errors
///
/// As [`prepare`].
pub fn memory(device: &Device) -> Result<Memory> {
    device.synchronize()?;
    let card = card(device)?;
    let get = |attribute| memory::get(card, attribute);
    Ok(Memory { used: get(USED)?, peak: get(PEAK)?, reserved: get(RESERVED)? })
}

/// Begins to count [`Memory::peak`] anew.
///
/// # Errors
///
/// As [`prepare`].
pub fn reset_peak(device: &Device) -> Result<()> {
    device.synchronize()?;
    memory::set(card(device)?, PEAK, 0)
}

/// Whether products of `f32` round their operands to TF32, with 10 bits of mantissa instead of 23: several times
/// faster on cards since Ampere, and off by about 1e-3 instead of 1e-6. Off at first, as in PyTorch. It holds for all
/// cards and threads of the process, and is candle's setting `gemm_reduced_precision_f32`.
pub fn allow_tf32(allowed: bool) {
    candle_core::cuda_backend::set_gemm_reduced_precision_f32(allowed);
}

fn card(device: &Device) -> Result<&CudaDevice> {
    match device {
        Device::Cuda(card) => Ok(card),
        _ => bail!("expected a CUDA card, found {device:?}"),
    }
}
