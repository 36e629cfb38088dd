//! Whether gradients on cards are finite.

use candle_core::backend::BackendStorage;
use candle_core::{CudaDevice, DType, Result, Tensor};

use crate::kernel::cuda::{Arg, Array, File, Grid, Row, Table, launch, placed, upload};

/// Whether no element is infinite or NaN: one launch for each card and type, then one number from each card.
pub(super) fn all_finite(grads: &[&Tensor]) -> Result<bool> {
    let mut whole = Vec::with_capacity(grads.len());
    for grad in grads.iter().filter(|grad| grad.elem_count() > 0) {
        whole.push(grad.contiguous()?);
    }
    let held: Vec<_> = whole.iter().map(Tensor::storage_and_layout).collect();
    let mut groups: Vec<(&CudaDevice, DType, Vec<Row<'_>>)> = Vec::new();
    for (storage, layout) in &held {
        let (card, grad) = placed(storage, layout)?;
        let (row, own) = (Row::of_gradient(grad), (card.id(), grad.dtype));
        match groups.iter_mut().find(|(device, dtype, _)| (device.id(), *dtype) == own) {
            Some((.., rows)) => rows.push(row),
            None => groups.push((card, grad.dtype, vec![row])),
        }
    }
    let mut flags = Vec::with_capacity(groups.len());
    for (device, dtype, rows) in groups {
        let (table, flag) = (Table::new(device, &rows)?, upload(device, &[0u32])?);
        let (array, raised) = (Array::whole(&table.storage)?, Array::whole(&flag)?);
        let args = [Arg::Size(table.rows), Arg::Of(&array), Arg::Of(&raised)];
        launch(device, (File::Update, "look"), dtype, Grid::blocks(table.blocks), &args)?;
        flags.push(flag);
    }
    for flag in flags {
        if flag.to_cpu_storage()?.as_slice::<u32>()? != [0] {
            return Ok(false);
        }
    }
    Ok(true)
}
