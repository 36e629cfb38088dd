//! The update as an in-place operation of candle.

use std::cell::Cell;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Device, InplaceOp1, InplaceOp2, Layout, Result, Tensor, Var, bail};

use super::{ElementRule, GradMap, Rows, State, Tally, by_tensors, pass};
use crate::kernel::{Element, StorageId, by_element, slices};

#[cfg(feature = "cuda")]
use super::cuda;

/// Updates `var` by `grad`, and its state with it. On the CPU and on CUDA, what `tally` wants is added up
/// within the same pass; elsewhere it stays as it is.
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
    if var.elem_count() == 0 {
        return Ok(());
    }
    let apart = || apart(grad.contiguous()?, var);
    match var.device() {
        Device::Cpu => {}
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => {
            let (item, sets) =
                (cuda::Item { var, grad: &apart()?, state, set: 0 }, [rule.arguments()]);
            let (first, measured) = (cuda::First::Nothing, tally.is_some());
            let outcome = cuda::update_all(&[item], &sets, map, first, measured)?;
            if let (Some(tally), Some(sums)) = (tally, outcome.sums.first()) {
                tally.set(sums);
            }
            return Ok(());
        }
        _ => return by_tensors::update(rule, map, var, grad, state),
    }
    let tally = tally.map(Cell::from_mut);
    var.inplace_op2(&apart()?, &FusedUpdate { rule, map, state, tally })
}

/// A gradient in a storage other than the variable's, which an update writes to: candle refuses operands that share one.
fn apart(grad: Tensor, var: &Var) -> Result<Tensor> {
    if StorageId::of(&grad) == StorageId::of(var) { grad.copy() } else { Ok(grad) }
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
