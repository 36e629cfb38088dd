//! Layers whose initial weights are those of the models' own code: normal, with the deviation that the
//! configuration sets, and biases of 0.

use candle_core::Result;
use candle_nn::{Init, VarBuilder};

use crate::nn::{Dropout, Embedding, Linear};

/// A linear layer from `weight`, `[outputs, inputs]`, and `bias`, `[outputs]`, of `vb`.
pub(super) fn linear(
    inputs: usize,
    outputs: usize,
    stdev: f64,
    vb: VarBuilder<'_>,
) -> Result<Linear> {
    let bias = vb.get_with_hints(outputs, "bias", Init::Const(0.0))?;
    Ok(Linear::new(weight([outputs, inputs], stdev, vb)?, Some(bias)))
}

/// A linear layer from `weight`, `[outputs, inputs]`, of `vb` alone.
pub(super) fn linear_no_bias(
    inputs: usize,
    outputs: usize,
    stdev: f64,
    vb: VarBuilder<'_>,
) -> Result<Linear> {
    Ok(Linear::new(weight([outputs, inputs], stdev, vb)?, None))
}

/// [`linear`] or [`linear_no_bias`], as `bias` says.
pub(super) fn linear_b(
    inputs: usize,
    outputs: usize,
    bias: bool,
    stdev: f64,
    vb: VarBuilder<'_>,
) -> Result<Linear> {
    match bias {
        true => linear(inputs, outputs, stdev, vb),
        false => linear_no_bias(inputs, outputs, stdev, vb),
    }
}

/// A table from `weight`, `[entries, size]`, of `vb`.
pub(super) fn embedding(
    entries: usize,
    size: usize,
    stdev: f64,
    vb: VarBuilder<'_>,
) -> Result<Embedding> {
    Ok(Embedding::new(weight([entries, size], stdev, vb)?, size))
}

fn weight(shape: [usize; 2], stdev: f64, vb: VarBuilder<'_>) -> Result<candle_core::Tensor> {
    vb.get_with_hints((shape[0], shape[1]), "weight", Init::Randn { mean: 0.0, stdev })
}

/// The dropouts of a model, each with a seed of its own.
pub(super) struct Dropouts {
    next: u64,
}

impl Dropouts {
    /// Seeds from `seed` on.
    pub(super) fn new(seed: u64) -> Self {
        Self { next: seed }
    }

    /// The next one, of probability `p`.
    pub(super) fn next(&mut self, p: f64) -> crate::error::Result<Dropout> {
        let dropout = Dropout::new(p as f32, self.next)?;
        self.next = self.next.wrapping_add(1);
        Ok(dropout)
    }
}
