//! (i) Linear layers with rectifiers in between.

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;
use freeze_core::Freezable;

use super::convnet::ImageKit;

/// The number of linear layers.
pub(crate) const STAGES: usize = 12;

/// A linear layer and what follows it.
#[derive(Freezable)]
pub(crate) enum Stage<K: ImageKit> {
    Hidden(K::Linear),
    Last(K::Linear),
}

/// The layer at `index`.
pub(crate) fn stage<K: ImageKit>(
    index: usize,
    width: usize,
    vb: VarBuilder<'_>,
) -> Result<Stage<K>> {
    let linear = K::linear(width, width, vb)?;
    Ok(if index + 1 < STAGES { Stage::Hidden(linear) } else { Stage::Last(linear) })
}

impl<K: ImageKit> Module for Stage<K> {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Hidden(linear) => K::relu(&linear.forward(xs)?),
            Self::Last(linear) => linear.forward(xs),
        }
    }
}
