//! Layers that are stages.

use candle_core::{Result, bail};

/// The layer that a stage names.
pub(super) fn layer<T>(layers: &[T], index: usize) -> Result<&T> {
    match layers.get(index) {
        Some(layer) => Ok(layer),
        None => bail!("the stage is layer {index}, counted from 0, of {}", layers.len()),
    }
}
