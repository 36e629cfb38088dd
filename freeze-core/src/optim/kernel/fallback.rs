//! The update made of candle operations, for devices without a kernel.

use candle_core::{Result, Tensor, Var, bail};

use super::{GradMap, acc_dtype};
use crate::optim::rule::Kernel;

/// As [`update`](super::update), in a dozen passes over memory.
pub(crate) fn update<K: Kernel>(
    kernel: &K,
    map: GradMap,
    var: &Var,
    grad: &Tensor,
    state: Option<&Tensor>,
) -> Result<()> {
    let Some(acc) = acc_dtype(var.dtype()) else {
        bail!("no optimizer kernel for {:?}", var.dtype())
    };
    let shape = var.shape();
    let theta = var.as_detached_tensor().to_dtype(acc)?;
    let grad = map.apply_tensor(grad.detach().to_dtype(acc)?)?;
    let kept = state.map_or(0, |state| state.dims().first().copied().unwrap_or(0));
    let moments: Vec<Tensor> = state
        .iter()
        .flat_map(|state| (0..kept).map(|i| state.get(i)?.reshape(shape)))
        .collect::<Result<_>>()?;
    let (theta, moments) = kernel.run_tensors(&theta, &grad, &moments)?;
    if let Some(state) = state {
        let rows = moments.iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?;
        state.slice_set(&Tensor::stack(&rows, 0)?, 0, 0)?;
    }
    var.set(&theta.to_dtype(var.dtype())?)
}
