//! Operands whose heads lie side by side, with their heads apart.

use candle_core::{Result, Tensor};

use crate::kernel::attention::Sizes;
use crate::nn::ops::shape::split_heads;

/// Queries, keys and values, `[batch, heads, length, size]`.
pub(super) fn apart(operands: [&Tensor; 3], sizes: &Sizes) -> Result<[Tensor; 3]> {
    let heads = |operand: &Tensor, count| match operand.rank() {
        3 => split_heads(operand, count),
        _ => Ok(operand.clone()),
    };
    let ([q, k, v], shared) = (operands, sizes.key_heads);
    Ok([heads(q, sizes.heads)?, heads(k, shared)?, heads(v, shared)?])
}
