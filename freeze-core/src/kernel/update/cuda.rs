//! The update of a parameter as one launch.

use candle_core::{CudaStorage, Layout, Result, bail};

use super::arguments::Arguments;
use super::{GradMap, Rows};
use crate::kernel::cuda::{Arg, Array, File, Grid, launch, operand};

/// Updates `theta` and `state` in place. `theta` and `grad` are contiguous and of one type, `state`
/// holds its rows one after the other, from its start.
pub(super) fn update<A: Arguments>(
    arguments: A,
    map: GradMap,
    theta: (&mut CudaStorage, &Layout),
    grad: (&CudaStorage, &Layout),
    (state, rows): (Option<&mut CudaStorage>, Rows),
) -> Result<()> {
    let device = theta.0.device.clone();
    let (theta, grad) = (operand((theta.0, theta.1))?, operand(grad)?);
    let state = state.as_deref().map(Array::whole).transpose()?;
    if grad.len != theta.len {
        bail!("a gradient of {} elements for a parameter of {}", grad.len, theta.len)
    }
    let room = state.map_or(0, |state| state.len);
    if room < rows.count() * theta.len || rows.moments < A::MOMENTS {
        bail!("the state is too small for the parameter")
    }
    let (scale, bound) = map.scale_and_bound();
    let mut args = vec![
        Arg::Size(theta.len),
        Arg::Of(&theta),
        Arg::Of(&grad),
        Arg::Maybe(state.as_ref()),
        Arg::Flag(rows.moments as u32),
        Arg::Flag(u32::from(rows.master)),
        Arg::Number(scale),
        Arg::Number(bound),
    ];
    args.extend(arguments.numbers().map(|number| Arg::Number(*number)));
    launch(&device, (File::Update, A::KERNEL), theta.dtype, Grid::each(theta.len), &args)
}
