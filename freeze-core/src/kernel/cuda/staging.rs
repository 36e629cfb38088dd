//! Memory of the host that a card copies from by itself.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{PinnedHostSlice, result};
use candle_core::{CudaDevice, DType, Result, Tensor, bail};

use super::array::{Array, empty, tensor};

/// Pinned bytes, which the system does not move, so that a card copies from them without a copy between.
#[derive(Debug)]
pub(crate) struct Staging {
    bytes: PinnedHostSlice<u8>,
}

/// A part of the bytes as the elements of a tensor.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) at: usize,
    pub(crate) dtype: DType,
    pub(crate) shape: (usize, usize),
}

impl Staging {
    /// # Errors
    ///
    /// The system has no memory that it would pin.
    pub(crate) fn new(device: &CudaDevice, len: usize) -> Result<Self> {
        let stream = device.cuda_stream();
        // SAFETY: the bytes are not initialized, and all are written here, before anything reads them.
        #[allow(unsafe_code)]
        let mut bytes = unsafe { stream.context().alloc_pinned::<u8>(len) }.w()?;
        bytes.as_mut_slice().w()?.fill(0);
        Ok(Self { bytes })
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn as_mut_slice(&mut self) -> Result<&mut [u8]> {
        self.bytes.as_mut_slice().w()
    }

    /// Copies of the parts on the card, in the calling thread's stream, which has been waited for: any other may use
    /// them at once.
    pub(crate) fn copied(&self, device: &CudaDevice, parts: &[Part]) -> Result<Vec<Tensor>> {
        let bytes = self.bytes.as_slice().w()?;
        let copied = parts.iter().map(|part| copy(device, bytes, part)).collect();
        // Also where one failed, since the bytes may be written to after this. An error that another thread has left
        // ends the first wait before it has waited; it is left for whoever asks next.
        let stream = device.cuda_stream();
        if let Err(left) = stream.synchronize() {
            stream.synchronize().w()?;
            stream.context().record_err(Err::<(), _>(left));
        }
        copied
    }
}

/// Asks for a copy of a part: the caller waits for it while the bytes are borrowed.
fn copy(device: &CudaDevice, bytes: &[u8], Part { at, dtype, shape }: &Part) -> Result<Tensor> {
    let elements = shape.0 * shape.1;
    let size = elements * dtype.size_in_bytes();
    let Some(from) = at.checked_add(size).and_then(|end| bytes.get(*at..end)) else {
        bail!("{size} bytes from {at} on of {}", bytes.len())
    };
    let storage = empty(device, elements, *dtype)?;
    let to = Array::whole(&storage)?.address;
    // SAFETY: the storage is new and has these many bytes. The caller waits for the stream before the bytes are written
    // to, and before the storage is used, or freed, by another.
    #[allow(unsafe_code)]
    let asked = unsafe { result::memcpy_htod_async(to, from, device.cuda_stream().cu_stream()) };
    asked.w()?;
    Ok(tensor(storage, *shape))
}
