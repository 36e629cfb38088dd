//! The update of a parameter as one launch.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaView, CudaViewMut, LaunchArgs, PushKernelArg,
};
use candle_core::{CudaStorage, DType, Layout, Result, bail};

use super::arguments::Arguments;
use super::{GradMap, Rows};
use crate::kernel::cuda::{Launch, launch};
use crate::kernel::{Element, by_element};

/// Updates `theta` and `state` in place. `theta` and `grad` are contiguous and of one type, `state`
/// holds its rows one after the other, from its start.
pub(super) fn update(
    arguments: impl Arguments,
    map: GradMap,
    theta: (&mut CudaStorage, &Layout),
    grad: (&CudaStorage, &Layout),
    state: (Option<&mut CudaStorage>, Rows),
) -> Result<()> {
    by_element!(theta.0.dtype(), "fused-update", T => {
        typed::<T, _>(arguments, map, theta, grad, state)
    })
}

fn typed<P, A: Arguments>(
    arguments: A,
    map: GradMap,
    (theta, theta_layout): (&mut CudaStorage, &Layout),
    (grad, grad_layout): (&CudaStorage, &Layout),
    (state, rows): (Option<&mut CudaStorage>, Rows),
) -> Result<()>
where
    P: Element + CudaDType,
    P::Real: CudaDType,
{
    let (Some((start, end)), Some((grad_start, grad_end))) =
        (theta_layout.contiguous_offsets(), grad_layout.contiguous_offsets())
    else {
        bail!("expected contiguous tensors")
    };
    let device = theta.device.clone();
    let (theta, grad) = (theta.as_cuda_slice_mut::<P>()?, grad.as_cuda_slice::<P>()?);
    let state = state.map(|state| state.as_cuda_slice_mut::<P::Real>()).transpose()?;
    let len = end - start;
    if theta.len() < end || grad.len() < grad_end || grad_end - grad_start != len {
        bail!("the layouts reach behind the storages")
    }
    let room = state.as_ref().map_or(0, |state| state.len());
    if room < rows.count() * len || rows.moments < A::MOMENTS {
        bail!("the state is too small for the parameter")
    }
    let (scale, bound) = map.scale_and_bound();
    let checked = Update {
        count: len as u64,
        theta: theta.slice_mut(start..end),
        grad: grad.slice(grad_start..grad_end),
        state,
        null: 0,
        moments: rows.moments as u32,
        master: u32::from(rows.master),
        scale,
        bound,
        arguments,
    };
    launch(&device, checked)
}

/// The arguments of the update kernels, with all lengths compared.
struct Update<'a, P: Element, A> {
    count: u64,
    theta: CudaViewMut<'a, P>,
    grad: CudaView<'a, P>,
    state: Option<&'a mut CudaSlice<P::Real>>,
    /// The null pointer for a missing state.
    null: u64,
    moments: u32,
    master: u32,
    scale: f64,
    bound: f64,
    arguments: A,
}

// SAFETY: these are the arguments of the kernels in their order and types; those behind the first are
// compared with `fused.cu` in the tests of `Arguments`. A kernel reads and writes below `count` in
// `theta` and `grad`, which are that long, and below `(moments + master) * count` in the state, of whose
// moments it takes `MOMENTS` for granted; `typed`, which alone makes this, has compared that.
#[allow(unsafe_code)]
unsafe impl<P: Element, A: Arguments> Launch for Update<'_, P, A> {
    const KERNEL: &'static str = A::KERNEL;

    fn dtype(&self) -> DType {
        P::DTYPE
    }

    fn len(&self) -> usize {
        self.count as usize
    }

    fn push<'a>(&'a mut self, to: &mut LaunchArgs<'a>) {
        to.arg(&self.count).arg(&mut self.theta).arg(&self.grad);
        match &mut self.state {
            Some(state) => to.arg(&mut **state),
            None => to.arg(&self.null),
        };
        to.arg(&self.moments).arg(&self.master).arg(&self.scale).arg(&self.bound);
        for number in self.arguments.numbers() {
            to.arg(number);
        }
    }
}
