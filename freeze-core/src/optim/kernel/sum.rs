//! Adding up gradients in place.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};

use super::cpu;

/// `sum = keep * sum + factor * grad`, in place on the CPU. `sum` is contiguous and of `f32` or
/// `f64`, `grad` of the same shape and type.
///
/// # Errors
///
/// The device fails.
pub(crate) fn add_scaled(sum: &Tensor, keep: f64, grad: &Tensor, factor: f64) -> Result<()> {
    // candle gives back the very tensor for operations on nothing, which would alias here.
    if sum.elem_count() == 0 {
        return Ok(());
    }
    if sum.device().is_cpu() {
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
        let (Some(to), Some(from)) =
            (sum_layout.contiguous_offsets(), grad_layout.contiguous_offsets())
        else {
            bail!("expected contiguous tensors")
        };
        let (to, from) = (to.0..to.1, from.0..from.1);
        match (sum, grad) {
            (CpuStorage::F32(sum), CpuStorage::F32(grad)) => {
                let (keep, factor) = (self.keep as f32, self.factor as f32);
                cpu::add_scaled(sum.get_mut(to), keep, grad.get(from), factor)
            }
            (CpuStorage::F64(sum), CpuStorage::F64(grad)) => {
                cpu::add_scaled(sum.get_mut(to), self.keep, grad.get(from), self.factor)
            }
            _ => bail!("expected two tensors of f32 or of f64"),
        }
    }
}
