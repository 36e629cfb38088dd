//! The convolution's gradients composed of candle's operations, for every device.

use candle_core::{Result, Tensor};

use super::pieces::{in_pieces, of_weight_gradient};
use crate::kernel::conv::{Axis, Geometry, Settings};

/// The gradient of the input: a transposed convolution of the gradient.
///
/// candle's own backward computes the missing rows at the far end from the height alone, and fails
/// if the width lacks a different number; here each axis is cut to its size.
pub(super) fn input_gradient(
    g: &Geometry,
    set: Settings,
    w: &Tensor,
    grad: &Tensor,
) -> Result<Tensor> {
    let missing = |axis: Axis| {
        let reached = (axis.output - 1) * axis.stride + axis.dilation * (axis.kernel - 1) + 1;
        (axis.input + 2 * axis.padding).saturating_sub(reached)
    };
    let extra = missing(g.height).max(missing(g.width));
    let each = groups(g, &[w, grad], &[0, 1], |parts| {
        let (w, grad) = (&parts[0], &parts[1]);
        match w.rank() {
            3 => grad.conv_transpose1d(w, set.padding, extra, set.stride, set.dilation, 1),
            _ => grad.conv_transpose2d(w, set.padding, extra, set.stride, set.dilation),
        }
    })?;
    cut(each, &[g.height.input, g.width.input])
}

/// The gradient of the weight: a convolution of the input with the gradient, stride and dilation
/// swapped, batch and channels swapped.
pub(super) fn weight_gradient(
    g: &Geometry,
    set: Settings,
    x: &Tensor,
    grad: &Tensor,
) -> Result<Tensor> {
    let parts = groups(g, &[x, grad], &[1, 1], |parts| {
        let (x, grad) = (parts[0].transpose(0, 1)?, parts[1].transpose(0, 1)?.contiguous()?);
        // `[in, out, ..]`: the output channels of the groups are joined along the second dimension.
        in_pieces(&x, of_weight_gradient(g), |x| match x.rank() {
            3 => x.conv1d(&grad, set.padding, set.dilation, set.stride, 1),
            _ => x.conv2d(&grad, set.padding, set.dilation, set.stride, 1),
        })
    })?;
    cut(parts, &[g.height.kernel, g.width.kernel])?.transpose(0, 1)?.contiguous()
}

/// The gradient of the bias: the sum over all but the channels.
pub(super) fn bias_gradient(grad: &Tensor) -> Result<Tensor> {
    match grad.rank() {
        3 => grad.sum((0, 2)),
        _ => grad.sum((0, 2, 3)),
    }
}

/// Applies `f` to each group's chunks of `operands` along `dims`, and joins the results along the
/// second dimension.
fn groups(
    g: &Geometry,
    operands: &[&Tensor],
    dims: &[usize],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Tensor> {
    let each: Result<Vec<Tensor>> = (0..g.groups)
        .map(|group| {
            let chunk = |(operand, &dim): (&&Tensor, &usize)| {
                let size = operand.dim(dim)? / g.groups;
                operand.narrow(dim, group * size, size)?.contiguous()
            };
            let chunks: Result<Vec<Tensor>> = operands.iter().zip(dims).map(chunk).collect();
            f(&chunks?)
        })
        .collect();
    Tensor::cat(&each?, 1)
}

/// Cuts the spatial dimensions, one or two, to `sizes`, the last of `sizes` first.
fn cut(tensor: Tensor, sizes: &[usize; 2]) -> Result<Tensor> {
    match tensor.rank() {
        3 => tensor.narrow(2, 0, sizes[1]),
        _ => tensor.narrow(2, 0, sizes[0])?.narrow(3, 0, sizes[1]),
    }
}
