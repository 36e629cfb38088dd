//! Activations converted to the type that they are stored in.

use candle_core::{DType, Tensor};

use super::settings::Precision;
use super::trial::select;
use crate::error::Result;
use crate::model::Flow;

/// A batch of activations, converted for storing.
pub(super) struct Rounded<F> {
    /// What the forward continues with: rounded as the records are, so a run does not depend on what was
    /// stored. A sample that is not stored stays exact.
    pub(super) flow: F,
    /// What is stored.
    pub(super) kept: F,
    /// For each sample whether it can be stored: no finite number became infinite.
    pub(super) fit: Vec<bool>,
}

impl<F: Flow> Rounded<F> {
    pub(super) fn new(flow: F, precision: Precision) -> Result<Self> {
        let mut fit = vec![true; flow.batch()?];
        if precision == Precision::Exact {
            return Ok(Self { kept: flow.detached()?, flow, fit });
        }
        let kept = flow.map_tensors(|x| Ok(x.to_dtype(precision.kept(x.dtype()))?))?;
        for (exact, kept) in flow.tensors().iter().zip(&kept.tensors()) {
            if exact.dtype() != kept.dtype() {
                let overflown = overflown(exact, kept)?;
                fit.iter_mut().zip(overflown).for_each(|(fit, over)| *fit &= !over);
            }
        }
        let read = as_computed(&kept, &types(&flow))?;
        let rows = fit.len() as u32;
        let flow = match fit.iter().all(|fit| *fit) {
            true => read,
            false => {
                let row = |(i, fit): (u32, &bool)| if *fit { i } else { i + rows };
                let rows: Vec<u32> = (0..).zip(&fit).map(row).collect();
                select(&F::concatenate(&[read, flow])?, &rows)?
            }
        };
        Ok(Self { flow, kept, fit })
    }

    /// How many samples cannot be stored.
    pub(super) fn unfit(&self) -> usize {
        self.fit.iter().filter(|fit| !**fit).count()
    }
}

/// The element types of a flow's tensors.
pub(super) fn types(flow: &impl Flow) -> Vec<DType> {
    flow.tensors().iter().map(Tensor::dtype).collect()
}

/// Stored activations, converted back to the types that they were computed in.
pub(super) fn as_computed<F: Flow>(kept: &F, types: &[DType]) -> Result<F> {
    let at = std::cell::Cell::new(0);
    kept.map_tensors(|tensor| {
        let dtype = types.get(at.replace(at.get() + 1)).copied();
        Ok(tensor.to_dtype(dtype.unwrap_or(tensor.dtype()))?)
    })
}

/// For each sample whether a finite number became infinite.
fn overflown(exact: &Tensor, kept: &Tensor) -> Result<Vec<bool>> {
    if exact.elem_count() == 0 {
        return Ok(vec![false; exact.dims().first().copied().unwrap_or(0)]);
    }
    let infinite = kept.to_dtype(exact.dtype())?.abs()?.ge(f64::INFINITY)?;
    let over = (exact.abs()?.lt(f64::INFINITY)? * infinite)?;
    let rows = over.dim(0)?;
    let by_row = over.reshape((rows, ()))?.max(1)?.to_vec1::<u8>()?;
    Ok(by_row.into_iter().map(|over| over != 0).collect())
}
