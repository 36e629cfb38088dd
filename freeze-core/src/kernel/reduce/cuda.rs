//! Whether gradients on cards are finite.

use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaView, DeviceRepr, LaunchArgs, PushKernelArg,
};
use candle_core::{
    CudaDevice, CudaStorage, DType, Layout, Result, Storage, Tensor, WithDType, bail,
};

use crate::kernel::by_element;
use crate::kernel::cuda::{Launch, launch};

/// Whether no element is infinite or NaN: one launch for each tensor, then one number from each card.
pub(super) fn all_finite(grads: &[&Tensor]) -> Result<bool> {
    let mut flags: Vec<(CudaDevice, CudaSlice<u32>)> = Vec::new();
    for grad in grads.iter().filter(|grad| grad.elem_count() > 0) {
        let grad = grad.contiguous()?;
        let (storage, layout) = grad.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else { bail!("expected a tensor on a card") };
        let device = &storage.device;
        let at = match flags.iter().position(|(known, _)| known.id() == device.id()) {
            Some(at) => at,
            None => {
                flags.push((device.clone(), device.alloc_zeros(1)?));
                flags.len() - 1
            }
        };
        let flag = &mut flags[at].1;
        by_element!(grad.dtype(), "all-finite", T => look::<T>(storage, layout, flag))?;
    }
    for (device, flag) in flags {
        if device.clone_dtoh(&flag)? != [0] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Raises `flag` if an element is infinite or NaN.
fn look<P: CudaDType + DeviceRepr + WithDType>(
    grad: &CudaStorage,
    layout: &Layout,
    flag: &mut CudaSlice<u32>,
) -> Result<()> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor")
    };
    let elements = grad.as_cuda_slice::<P>()?;
    if elements.len() < end || flag.is_empty() {
        bail!("the layout reaches behind the storage")
    }
    let (count, elements) = ((end - start) as u64, elements.slice(start..end));
    launch(&grad.device, Look { count, elements, flag })
}

/// The kernel's arguments, with all lengths compared.
struct Look<'a, P> {
    count: u64,
    elements: CudaView<'a, P>,
    flag: &'a mut CudaSlice<u32>,
}

// SAFETY: these are the arguments of the kernel in their order and types. It reads below `count` in the
// elements, which are that many, and writes the one flag; `look`, which alone makes this, has compared
// that.
#[allow(unsafe_code)]
unsafe impl<P: WithDType> Launch for Look<'_, P> {
    const KERNEL: &'static str = "look";

    fn dtype(&self) -> DType {
        P::DTYPE
    }

    fn len(&self) -> usize {
        self.count as usize
    }

    fn push<'a>(&'a mut self, to: &mut LaunchArgs<'a>) {
        to.arg(&self.count).arg(&self.elements).arg(&mut *self.flag);
    }
}
