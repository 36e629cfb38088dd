//! Whether gradients on cards are finite.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{CudaDevice, CudaStorage, DType, Result, Shape, Tensor};

use crate::kernel::cuda::{Arg, Array, File, Grid, launch, on_card};

/// Whether no element is infinite or NaN: one launch for each tensor, then one number from each card.
pub(super) fn all_finite(grads: &[&Tensor]) -> Result<bool> {
    let mut flags: Vec<(CudaDevice, CudaStorage)> = Vec::new();
    for grad in grads.iter().filter(|grad| grad.elem_count() > 0) {
        on_card([grad], |device, [elements]| {
            let at = match flags.iter().position(|(known, _)| known.id() == device.id()) {
                Some(at) => at,
                None => {
                    flags.push((device.clone(), device.zeros_impl(&Shape::from(1), DType::U32)?));
                    flags.len() - 1
                }
            };
            let flag = Array::whole(&flags[at].1)?;
            let args = [Arg::Size(elements.len), Arg::Of(&elements), Arg::Of(&flag)];
            launch(device, (File::Update, "look"), elements.dtype, Grid::each(elements.len), &args)
        })?;
    }
    for (_, flag) in flags {
        if flag.to_cpu_storage()?.as_slice::<u32>()? != [0] {
            return Ok(false);
        }
    }
    Ok(true)
}
