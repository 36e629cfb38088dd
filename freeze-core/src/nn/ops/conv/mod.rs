//! Convolutions in one and two dimensions.

#[cfg(feature = "cuda")]
mod on_card;
mod op;
mod pieces;
mod portable;

use candle_core::{Result, Tensor};
use candle_nn::{Conv1dConfig, Conv2dConfig};

use crate::kernel::conv::Settings;
use op::Conv;

/// The cross-correlation of `x` `[n, c, l]` with `weight` `[c', c / groups, k]`, plus `bias` `[c']`:
/// `[n, c', l']`.
///
/// # Errors
///
/// Shapes that do not fit, operands of different dtypes or on different devices.
pub fn conv1d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &Conv1dConfig,
) -> Result<Tensor> {
    let &Conv1dConfig { padding, stride, dilation, groups, cudnn_fwd_algo } = config;
    let settings = Settings { padding, stride, dilation, groups };
    Conv::apply("conv1d", settings, cudnn_fwd_algo, x, weight, bias)
}

/// The cross-correlation of `x` `[n, c, h, w]` with `weight` `[c', c / groups, kh, kw]`, plus `bias`
/// `[c']`: `[n, c', h', w']`.
///
/// On the CPU forward and both gradients are one matmul per group over the windows gathered as
/// columns, tile by tile; each gradient only if it is asked for.
///
/// # Errors
///
/// Shapes that do not fit, operands of different dtypes or on different devices.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &Conv2dConfig,
) -> Result<Tensor> {
    let &Conv2dConfig { padding, stride, dilation, groups, cudnn_fwd_algo } = config;
    let settings = Settings { padding, stride, dilation, groups };
    Conv::apply("conv2d", settings, cudnn_fwd_algo, x, weight, bias)
}

#[cfg(test)]
mod tests;
