//! `y = x + b` along the last dimension.

use candle_core::{Result, Tensor, bail};

use super::binary::Binary;
use crate::nn::record::{self, Work};

/// `x + b`, `b` along the last dimension: `x` is `[.., n]`, `bias` `[n]`.
///
/// # Errors
///
/// Shapes that do not fit, operands of different dtypes or on different devices.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if bias.rank() != 1 || x.dims().last() != bias.dims().first() {
        bail!(
            "add_bias: the bias has shape {:?}, expected one dimension, the last of the input {:?}",
            bias.shape(),
            x.shape()
        );
    }
    record::apply([x, bias], Work::Elements, Binary::Sum)
}
