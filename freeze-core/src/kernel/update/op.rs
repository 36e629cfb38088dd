//! The update as an in-place operation of candle.

use std::cell::Cell;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, Var, bail};

use super::{ElementRule, GradMap, Rows, State, Tally, by_tensors, pass};
use crate::kernel::{Element, StorageId, by_element, slices};

#[cfg(feature = "cuda")]
use {super::cuda, candle_core::CudaStorage};

/// Updates `var` by `grad`, and its state with it. On the CPU, what `tally` wants is added up within
/// the same pass; elsewhere it stays as it is.
///
/// # Errors
///
/// The device fails. The caller checks shapes, types and devices.
pub(crate) fn update<U: ElementRule>(
    rule: &U,
    map: GradMap,
    var: &Var,
    grad: &Tensor,
    state: Option<&State>,
    tally: Option<&mut Tally>,
) -> Result<()> {
    let fused = crate::kernel::on(var.device());
    if var.elem_count() == 0 {
        return Ok(());
    }
    if !fused {
        return by_tensors::update(rule, map, var, grad, state);
    }
    let grad = grad.contiguous()?;
    // candle refuses operands that share the target's storage.
    let grad = if StorageId::of(&grad) == StorageId::of(var) { grad.copy()? } else { grad };
    let tally = tally.map(Cell::from_mut);
    var.inplace_op2(&grad, &FusedUpdate { rule, map, state, tally })
}

struct FusedUpdate<'a, U> {
    rule: &'a U,
    map: GradMap,
    state: Option<&'a State>,
    tally: Option<&'a Cell<Tally>>,
}

impl<U: ElementRule> InplaceOp2 for FusedUpdate<'_, U> {
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
            let state = (None, Rows::default());
            return cuda::update(self.rule.arguments(), self.map, theta, grad, state);
        };
        let theta = Cell::new(Some(theta));
        state.tensor.inplace_op1(&WithState { outer: self, theta, theta_layout, grad, grad_layout })
    }
}

/// The same update with the state's storage writable as well: an in-place operation of candle
/// writes to one tensor, so two are nested to write to both.
struct WithState<'a, 'r, U, S> {
    outer: &'a FusedUpdate<'r, U>,
    theta: Cell<Option<&'a mut S>>,
    theta_layout: &'a Layout,
    grad: &'a S,
    grad_layout: &'a Layout,
}

impl<U: ElementRule> InplaceOp1 for WithState<'_, '_, U, CpuStorage> {
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
impl<U: ElementRule> InplaceOp1 for WithState<'_, '_, U, CudaStorage> {
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
        cuda::update(self.outer.rule.arguments(), self.outer.map, theta, grad, state)
    }
}

impl<U: ElementRule> FusedUpdate<'_, U> {
    fn dispatch(
        &self,
        theta: &mut CpuStorage,
        theta_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
        state: Option<(&mut CpuStorage, &Layout)>,
    ) -> Result<()> {
        let (theta, grad) = ((theta, theta_layout), (grad, grad_layout));
        by_element!(theta.0.dtype(), "fused-update", T => self.typed::<T>(theta, grad, state))
    }

    fn typed<P: Element>(
        &self,
        theta: (&mut CpuStorage, &Layout),
        (grad, grad_layout): (&CpuStorage, &Layout),
        state: Option<(&mut CpuStorage, &Layout)>,
    ) -> Result<()> {
        let theta = slices::read_mut::<P>("parameter", theta)?;
        let grad = slices::read::<P>(grad, grad_layout)?;
        let state = match state {
            Some(state) => slices::read_mut::<P::Real>("state", state)?,
            None => &mut [],
        };
        let mut tally = self.tally.map(Cell::get);
        pass::update((self.rule, self.map), theta, &grad, (state, self.rows()), tally.as_mut());
        if let (Some(cell), Some(tally)) = (self.tally, tally) {
            cell.set(tally);
        }
        Ok(())
    }

    fn rows(&self) -> Rows {
        self.state.map_or_else(Rows::default, |state| state.rows)
    }
}
