//! Batch normalisation (Ioffe and Szegedy, 2015) as operations: by the batch's own statistics, or
//! by given ones. [`BatchNorm`](super::BatchNorm) is the layer with running statistics.

use candle_core::{Result, Tensor};

use super::ops::norm::by_channel::{self, Statistics};
use super::ops::norm::plane_op::Then;
use crate::kernel::norm::{Center, planes::Over};

/// The statistics that a batch was normalised by.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BatchStatistics {
    /// The mean of each channel.
    pub mean: Tensor,
    /// The biased variance of each channel.
    pub variance: Tensor,
}

/// Normalises `x` of shape `[batch, channels, ..]` by the statistics of the batch, which are
/// returned with it, f16's and bf16's in f32. `affine` is a weight and a bias per channel, of the
/// input's element type. f16 and bf16 compute in f32. On the CPU and on CUDA
/// gradients are computed for tracked operands only.
///
/// # Errors
///
/// Fewer than two dimensions, an empty input, shapes or element types that do not fit, an element
/// type other than f32, f64, f16 and bf16, or an `eps` that is negative or not finite.
pub fn normalize(
    x: &Tensor,
    affine: Option<(&Tensor, &Tensor)>,
    eps: f64,
) -> Result<(Tensor, BatchStatistics)> {
    let (y, Statistics { mean, variance, .. }) =
        by_channel::by_input(x, Over::Batch, Center::Mean, affine, eps, Then::Nothing, None)?;
    Ok((y, BatchStatistics { mean, variance }))
}

/// As [`normalize`] by given statistics of one element per channel, which are constants: no
/// gradient passes through them.
///
/// # Errors
///
/// As [`normalize`], or statistics of another size.
pub fn normalize_by(
    x: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
    affine: Option<(&Tensor, &Tensor)>,
    eps: f64,
) -> Result<Tensor> {
    normalize_by_then(x, [mean, variance], affine, eps, Then::Nothing)
}

pub(super) fn normalize_by_then(
    x: &Tensor,
    [mean, variance]: [&Tensor; 2],
    affine: Option<(&Tensor, &Tensor)>,
    eps: f64,
    then: Then<'_>,
) -> Result<Tensor> {
    let channels = x.dims().get(1).copied().unwrap_or(0);
    for (name, tensor) in [("mean", mean), ("variance", variance)] {
        if tensor.dims() != [channels] {
            candle_core::bail!(
                "the input has {channels} channels, but the {name} has shape {:?}",
                tensor.dims()
            )
        }
    }
    by_channel::by_constants(x, [mean, variance], affine, eps, then)
}
