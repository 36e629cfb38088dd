//! The update composed of candle operations, for devices without a kernel.

use candle_core::{DType, Result, Tensor, Var, bail};

use super::{ElementRule, GradMap, State};
use crate::kernel::real_dtype;

/// As [`update`](super::update), in a dozen passes over memory.
pub(crate) fn update<U: ElementRule>(
    rule: &U,
    map: GradMap,
    var: &Var,
    grad: &Tensor,
    state: Option<&State>,
) -> Result<()> {
    let Some(real) = real_dtype(var.dtype()) else { bail!("no update for {:?}", var.dtype()) };
    let shape = var.shape();
    let theta = recalled(var, real, state)?;
    let grad = map.apply_tensor(grad.detach().to_dtype(real)?)?;
    let moments: Vec<Tensor> = state
        .iter()
        .flat_map(|state| (0..state.rows.moments).map(|i| state.tensor.get(i)?.reshape(shape)))
        .collect::<Result<_>>()?;
    let (theta, moments) = rule.run_tensors(&theta, &grad, &moments)?;
    if let Some(state) = state {
        let rows = moments.iter().chain(state.rows.master.then_some(&theta));
        let rows = rows.map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?;
        state.tensor.slice_set(&Tensor::stack(&rows, 0)?, 0, 0)?;
    }
    var.set(&theta.to_dtype(var.dtype())?)
}

/// The parameter in the type of arithmetic: the master weights where they round to the stored
/// values.
fn recalled(var: &Var, real: DType, state: Option<&State>) -> Result<Tensor> {
    let stored = var.as_detached_tensor();
    let Some(State { tensor, rows }) = state.filter(|state| state.rows.master) else {
        return stored.to_dtype(real);
    };
    let master = tensor.get(rows.moments)?.reshape(stored.shape())?;
    let rounds = master.to_dtype(stored.dtype())?.eq(&stored)?;
    rounds.where_cond(&master, &stored.to_dtype(real)?)
}
