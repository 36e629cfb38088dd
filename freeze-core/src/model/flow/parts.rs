//! A flow from its tensors.

use candle_core::Tensor;

use super::flat::{Flat, What, unlike};
use super::layout::{FlowLayout, Form};
use crate::error::Result;

/// Builds the flow of this layout that has these tensors, in order.
pub(super) fn flat(layout: &FlowLayout, tensors: Vec<Tensor>) -> Result<Flat> {
    let mut flat = Flat::default();
    let mut tensors = tensors.into_iter();
    for part in layout.parts() {
        let what = match &part.form {
            Form::Count(count) => What::Count(*count),
            Form::Tensor { shape, .. } => {
                let lacking = || unlike(part.name.clone(), "a tensor is lacking");
                let tensor = tensors.next().ok_or_else(lacking)?;
                let batch = tensor.dims().first().copied().unwrap_or(0);
                let shape: Vec<usize> = [batch].into_iter().chain(shape.iter().copied()).collect();
                What::Tensor(tensor.reshape(shape)?)
            }
        };
        flat.push(part.name.clone(), what);
    }
    Ok(flat)
}
