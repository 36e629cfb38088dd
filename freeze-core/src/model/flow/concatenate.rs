//! Concatenates batches.

use candle_core::Tensor;

use super::flat::{Flat, unlike};
use super::layout::FlowLayout;
use crate::error::{Error, Result};

/// All samples of `flats`; these may differ only in the number of samples.
pub(super) fn concatenate(flats: &[Flat]) -> Result<Flat> {
    let Some((first, others)) = flats.split_first() else {
        return Err(unlike(String::new(), "there is nothing to concatenate"));
    };
    let layout = FlowLayout::of(first)?;
    for other in others {
        if let Some((part, why)) = layout.difference(&FlowLayout::of(other)?) {
            return Err(Error::Flow { part, why });
        }
    }
    let mut whole = first.clone();
    for (i, tensor) in whole.tensors_mut().enumerate() {
        let parts: Vec<&Tensor> = flats.iter().filter_map(|flat| flat.tensors().nth(i)).collect();
        *tensor = Tensor::cat(&parts, 0)?;
    }
    Ok(whole)
}
