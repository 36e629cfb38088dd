//! Group normalisation (Wu and He, 2018).

use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::ops::norm::plane_op::Then;
use super::ops::norm::{by_channel, check_eps};
use crate::kernel::norm::{Center, planes::Over};
use crate::model::{Freezable, LeafTree, Mapper};

/// Normalises `x` of shape `[batch, channels, ..]` in `groups` groups of neighbouring channels, each
/// sample by itself, with the biased variance; `weight` and `bias` have one element per channel and
/// the input's element type. f16 and bf16 compute in f32. On the CPU and on CUDA gradients
/// are computed for tracked operands only.
///
/// # Errors
///
/// Fewer than three dimensions, channels that do not divide into the groups, shapes or element types
/// that do not fit, an element type other than f32, f64, f16 and bf16, or an `eps` that is negative or
/// not finite.
pub fn normalize(
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    if x.rank() < 3 {
        candle_core::bail!(
            "the input has shape {:?}, expected at least three dimensions: batch, channels, length",
            x.dims()
        )
    }
    let size = group_size(x.dim(1)?, groups)?;
    let affine = Some((weight, bias));
    Ok(by_channel::by_input(x, Over::Group(size), Center::Mean, affine, eps, Then::Nothing, None)?
        .0)
}

fn group_size(channels: usize, groups: usize) -> Result<usize> {
    if groups == 0 || !channels.is_multiple_of(groups) {
        candle_core::bail!("{channels} channels cannot be divided into {groups} groups")
    }
    Ok(channels / groups)
}

/// Group normalisation: `candle_nn::GroupNorm` with a lean backward and accessible tensors.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
    num_channels: usize,
    num_groups: usize,
}

impl GroupNorm {
    /// `weight` and `bias` have one element per channel.
    ///
    /// # Errors
    ///
    /// The channels do not divide into the groups, or `eps` is negative or not finite.
    pub fn new(
        weight: Tensor,
        bias: Tensor,
        num_channels: usize,
        num_groups: usize,
        eps: f64,
    ) -> Result<Self> {
        group_size(num_channels, num_groups)?;
        check_eps(eps)?;
        Ok(Self { weight, bias, eps, num_channels, num_groups })
    }

    /// The scale of each channel.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The offset of each channel.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }

    /// The number added to the variance.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// The number of channels.
    pub fn num_channels(&self) -> usize {
        self.num_channels
    }

    /// The number of groups.
    pub fn num_groups(&self) -> usize {
        self.num_groups
    }
}

/// A group normalisation; reads `weight` and `bias`.
///
/// # Errors
///
/// The builder has no such tensors, or as [`GroupNorm::new`].
pub fn group_norm(
    num_groups: usize,
    num_channels: usize,
    eps: f64,
    vb: VarBuilder<'_>,
) -> Result<GroupNorm> {
    let weight = vb.get_with_hints(num_channels, "weight", Init::Const(1.0))?;
    let bias = vb.get_with_hints(num_channels, "bias", Init::Const(0.0))?;
    GroupNorm::new(weight, bias, num_channels, num_groups, eps)
}

impl Module for GroupNorm {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        normalize(xs, self.num_groups, &self.weight, &self.bias, self.eps)
    }
}

#[diagnostic::do_not_recommend]
impl Freezable for GroupNorm {
    const LEAVES: LeafTree = LeafTree::leaf("GroupNorm");

    fn map_params(&self, mapper: &mut Mapper<'_>) -> crate::error::Result<Self> {
        mapper.leaf("GroupNorm", |mapper| {
            Ok(Self {
                weight: mapper.weight("weight", &self.weight)?,
                bias: mapper.weight("bias", &self.bias)?,
                ..*self
            })
        })
    }
}
