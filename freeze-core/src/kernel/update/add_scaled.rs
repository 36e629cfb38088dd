//! Adds gradients up in place.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, WithDType, bail};

#[cfg(feature = "cuda")]
use crate::kernel::cuda::{elements, operand};
use crate::kernel::pieces::STREAM;
use crate::kernel::{Real, by_real, real_dtype, slices};

/// `sum = keep * sum + factor * grad`, in place on the CPU and on CUDA, where nothing but a gradient that is not
/// contiguous takes memory. `sum` is contiguous and of `f32` or `f64`, `grad` of the same shape and type.
///
/// # Errors
///
/// The device fails.
pub(crate) fn add_scaled(sum: &Tensor, keep: f64, grad: &Tensor, factor: f64) -> Result<()> {
    // For empty tensors candle returns the operand itself, which would alias here.
    if sum.elem_count() == 0 {
        return Ok(());
    }
    if sum.device().is_cpu() || (cfg!(feature = "cuda") && sum.device().is_cuda()) {
        return sum.inplace_op2(&grad.contiguous()?, &AddScaled { keep, factor });
    }
    if sum.rank() == 0 {
        let sum = sum.reshape(1)?;
        return sum.slice_set(&((&sum * keep)? + (grad.reshape(1)? * factor)?)?, 0, 0);
    }
    sum.slice_set(&((sum * keep)? + (grad * factor)?)?.contiguous()?, 0, 0)
}

struct AddScaled {
    keep: f64,
    factor: f64,
}

impl InplaceOp2 for AddScaled {
    fn name(&self) -> &'static str {
        "add-scaled"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<()> {
        if grad.dtype() != sum.dtype() || real_dtype(sum.dtype()) != Some(sum.dtype()) {
            bail!("expected two tensors of f32 or of f64")
        }
        by_real!(sum.dtype(), T => {
            let (keep, factor) = (T::from_f64(self.keep), T::from_f64(self.factor));
            let sum = slices::read_mut::<T>("sum", (sum, sum_layout))?;
            add(sum, keep, &slices::read(grad, grad_layout)?, factor);
            Ok(())
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        sum: &mut CudaStorage,
        sum_layout: &Layout,
        grad: &CudaStorage,
        grad_layout: &Layout,
    ) -> Result<()> {
        let (to, x) = (operand((&*sum, sum_layout))?, operand((grad, grad_layout))?);
        elements::add_scaled(&grad.device, to, [self.keep, self.factor], x)
    }
}

fn add<T: Real>(sum: &mut [T], keep: T, grad: &[T], factor: T) {
    let pieces = sum.chunks_mut(STREAM.grain).zip(grad.chunks(STREAM.grain));
    STREAM.each(
        grad.len(),
        pieces,
        #[inline(always)]
        |(sum, grad)| {
            sum.iter_mut().zip(grad).for_each(|(sum, &g)| *sum = keep * *sum + factor * g);
        },
    );
}
