//! The update as a candle operation in place.

use std::cell::Cell;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, Var, bail};
use half::{bf16, f16};

use super::{Element, GradMap, Rows, State, cpu, fallback};
use crate::nn::span;
use crate::optim::rule::Kernel;

#[cfg(feature = "cuda")]
use {crate::raw::cuda, candle_core::CudaStorage};

/// Updates `var` by `grad`, and its state with it.
///
/// # Errors
///
/// The device fails. Shapes, types and devices are the caller's to check.
pub(crate) fn update<K: Kernel>(
    kernel: &K,
    map: GradMap,
    var: &Var,
    grad: &Tensor,
    state: Option<&State>,
) -> Result<()> {
    let fused = var.device().is_cpu() || (cfg!(feature = "cuda") && var.device().is_cuda());
    if var.elem_count() == 0 {
        return Ok(());
    }
    if !fused {
        return fallback::update(kernel, map, var, grad, state);
    }
    let grad = grad.contiguous()?;
    // candle refuses an operand that shares the target's storage.
    let grad = if storage_address(&grad) == storage_address(var) { grad.copy()? } else { grad };
    var.inplace_op2(&grad, &FusedUpdate { kernel, map, state })
}

fn storage_address(tensor: &Tensor) -> *const candle_core::Storage {
    std::ptr::from_ref(&*tensor.storage_and_layout().0)
}

struct FusedUpdate<'a, K> {
    kernel: &'a K,
    map: GradMap,
    state: Option<&'a State>,
}

impl<K: Kernel> InplaceOp2 for FusedUpdate<'_, K> {
    fn name(&self) -> &'static str {
        "fused-update"
    }

    fn cpu_fwd(
        &self,
        theta: &mut CpuStorage,
        theta_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<()> {
        let Some(state) = self.state else {
            return self.dispatch(theta, theta_layout, grad, grad_layout, None);
        };
        let theta = Cell::new(Some(theta));
        state.tensor.inplace_op1(&WithState { outer: self, theta, theta_layout, grad, grad_layout })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        theta: &mut CudaStorage,
        theta_layout: &Layout,
        grad: &CudaStorage,
        grad_layout: &Layout,
    ) -> Result<()> {
        let Some(state) = self.state else {
            let (theta, grad) = ((theta, theta_layout), (grad, grad_layout));
            return cuda::update(
                &self.kernel.cuda(),
                self.map,
                theta,
                grad,
                (None, Rows::default()),
            );
        };
        let theta = Cell::new(Some(theta));
        state.tensor.inplace_op1(&WithState { outer: self, theta, theta_layout, grad, grad_layout })
    }
}

/// The same update once the state's storage is open to write to as well: candle's operations in
/// place write to one tensor, nesting two of them writes to both.
struct WithState<'a, 'k, K, S> {
    outer: &'a FusedUpdate<'k, K>,
    theta: Cell<Option<&'a mut S>>,
    theta_layout: &'a Layout,
    grad: &'a S,
    grad_layout: &'a Layout,
}

impl<K: Kernel> InplaceOp1 for WithState<'_, '_, K, CpuStorage> {
    fn name(&self) -> &'static str {
        "fused-update"
    }

    fn cpu_fwd(&self, state: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some(theta) = self.theta.take() else { bail!("fused-update runs once") };
        let state = Some((state, layout));
        self.outer.dispatch(theta, self.theta_layout, self.grad, self.grad_layout, state)
    }
}

#[cfg(feature = "cuda")]
impl<K: Kernel> InplaceOp1 for WithState<'_, '_, K, CudaStorage> {
    fn name(&self) -> &'static str {
        "fused-update"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        bail!("the parameter is on a GPU, its state is not")
    }

    fn cuda_fwd(&self, state: &mut CudaStorage, layout: &Layout) -> Result<()> {
        if layout.start_offset() != 0 {
            bail!("the state does not begin with its storage")
        }
        let Some(theta) = self.theta.take() else { bail!("fused-update runs once") };
        let (theta, grad) = ((theta, self.theta_layout), (self.grad, self.grad_layout));
        let state = (Some(state), self.outer.rows());
        cuda::update(&self.outer.kernel.cuda(), self.outer.map, theta, grad, state)
    }
}

impl<K: Kernel> FusedUpdate<'_, K> {
    fn dispatch(
        &self,
        theta: &mut CpuStorage,
        theta_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
        state: Option<(&mut CpuStorage, &Layout)>,
    ) -> Result<()> {
        let (theta, grad) = ((theta, theta_layout), (grad, grad_layout));
        match theta.0.dtype() {
            DType::F32 => self.typed::<f32>(theta, grad, state),
            DType::F64 => self.typed::<f64>(theta, grad, state),
            DType::F16 => self.typed::<f16>(theta, grad, state),
            DType::BF16 => self.typed::<bf16>(theta, grad, state),
            dtype => bail!("no optimizer kernel for {dtype:?}"),
        }
    }

    fn typed<P: Element>(
        &self,
        (theta, theta_layout): (&mut CpuStorage, &Layout),
        (grad, grad_layout): (&CpuStorage, &Layout),
        state: Option<(&mut CpuStorage, &Layout)>,
    ) -> Result<()> {
        let theta = P::slice_mut(theta)?;
        let grad = P::cpu_storage_as_slice(grad)?;
        let Some(theta) = span(theta_layout).and_then(|span| theta.get_mut(span)) else {
            bail!("the parameter is not contiguous")
        };
        let Some(grad) = span(grad_layout).and_then(|span| grad.get(span)) else {
            bail!("the gradient is not contiguous")
        };
        let state = match state {
            Some((state, layout)) => {
                let state = P::Acc::slice_mut(state)?;
                match span(layout).and_then(|span| state.get_mut(span)) {
                    Some(state) => state,
                    None => bail!("the state is not contiguous"),
                }
            }
            None => &mut [],
        };
        cpu::update(self.kernel, self.map, theta, grad, state, self.rows());
        Ok(())
    }

    fn rows(&self) -> Rows {
        self.state.map_or_else(Rows::default, |state| state.rows)
    }
}
