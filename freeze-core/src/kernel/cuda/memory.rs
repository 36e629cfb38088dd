//! The pool of memory that a card's tensors come from, which the driver keeps.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::result::mem_pool;
use candle_core::cuda_backend::cudarc::driver::sys::{
    self, CUmemPool_attribute as Attribute, CUmemoryPool,
};
use candle_core::{CudaDevice, Result};

/// Bytes that a pool keeps when the host waits for the card, instead of giving them back to the driver.
pub(crate) const KEPT: Attribute = Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
/// Bytes of tensors, and of what they have left behind.
pub(crate) const RESERVED: Attribute = Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT;
/// Bytes of tensors.
pub(crate) const USED: Attribute = Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT;
/// The most bytes of tensors since this was set to 0.
pub(crate) const PEAK: Attribute = Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;

/// A number of the pool.
pub(crate) fn get(device: &CudaDevice, attribute: Attribute) -> Result<u64> {
    let pool = pool(device)?;
    let mut value = 0u64;
    // SAFETY: the pool is the driver's own, and these attributes are numbers of 64 bits.
    #[allow(unsafe_code)]
    unsafe { mem_pool::get_attribute(pool, attribute, (&raw mut value).cast::<c_void>()) }.w()?;
    Ok(value)
}

/// Sets a number of the pool.
pub(crate) fn set(device: &CudaDevice, attribute: Attribute, mut value: u64) -> Result<()> {
    let pool = pool(device)?;
    // SAFETY: as above; the driver only reads it.
    #[allow(unsafe_code)]
    unsafe { mem_pool::set_attribute(pool, attribute, (&raw mut value).cast::<c_void>()) }.w()
}

/// Tensors made from now on have no events.
pub(crate) fn leave_out_events(device: &CudaDevice) {
    // SAFETY: all work of a device of candle's, and all of this crate's, goes to its one stream, which each thread has
    // of its own, in whose order memory is allocated, used and freed. Between threads candle waits for no events as
    // long as nobody makes a stream; who does, or hands tensors to other threads, is told what to do.
    #[allow(unsafe_code)]
    unsafe {
        device.disable_event_tracking();
    }
}

fn pool(device: &CudaDevice) -> Result<CUmemoryPool> {
    let stream = device.cuda_stream();
    let context = stream.context();
    context.bind_to_thread().w()?;
    let mut pool = MaybeUninit::uninit();
    // SAFETY: the device is that of a live context; on success the pool has been written.
    #[allow(unsafe_code)]
    unsafe {
        sys::cuDeviceGetMemPool(pool.as_mut_ptr(), context.cu_device()).result().w()?;
        Ok(pool.assume_init())
    }
}
