//! Convolutions on a CUDA card: by cuDNN, if the crate is built with it.

#[cfg(feature = "cudnn")]
use candle_core::{CudaStorage, Device};
use candle_core::{Result, Tensor};

use crate::kernel::conv::Geometry;
#[cfg(feature = "cudnn")]
use crate::kernel::cuda::Array;
#[cfg(feature = "cudnn")]
use crate::kernel::cuda::cudnn::{Pass, run};
use crate::kernel::cuda::{on_card, planes, tensor};
#[cfg(feature = "cudnn")]
use crate::kernel::real_dtype;

/// The result; `None` where cuDNN has no algorithm for it, on other devices, and for operands of several types.
#[cfg(feature = "cudnn")]
pub(super) fn forward(
    g: &Geometry,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Option<CudaStorage>> {
    let alike = |other: &Tensor| {
        let (Device::Cuda(one), Device::Cuda(two)) = (x.device(), other.device()) else {
            return false;
        };
        one.id() == two.id() && x.dtype() == other.dtype()
    };
    if real_dtype(x.dtype()).is_none() || !alike(w) || !bias.is_none_or(alike) {
        return Ok(None);
    }
    let made = on_card([x, w], |device, operands| run(device, Pass::Forward, g, operands))?;
    if let (Some(made), Some(bias)) = (&made, bias) {
        on_card([bias], |device, [bias]| {
            planes::add_to_channels(device, Array::whole(made)?, g.pixels(), bias)
        })?;
    }
    Ok(made)
}

/// The gradient of the first operand, the input, or of the second, the weight; `None` where cuDNN has no algorithm for
/// it, and on other devices.
#[cfg(feature = "cudnn")]
pub(super) fn gradient(
    place: usize,
    g: &Geometry,
    [x, w]: [&Tensor; 2],
    grad: &Tensor,
) -> Result<Option<Tensor>> {
    let (pass, other, like) = match place {
        0 => (Pass::Input, w, x),
        _ => (Pass::Weight, x, w),
    };
    if !grad.device().is_cuda() {
        return Ok(None);
    }
    let found = on_card([other, grad], |device, operands| run(device, pass, g, operands))?;
    Ok(found.map(|found| tensor(found, like.shape())))
}

/// The gradient of the bias.
pub(super) fn bias_gradient(g: &Geometry, grad: &Tensor) -> Result<Tensor> {
    let found = on_card([grad], |device, [grad]| {
        planes::channel_sums(device, grad, g.channels_out, g.pixels())
    })?;
    Ok(tensor(found, g.channels_out))
}

/// Adds the bias to a result that nothing else holds, in place.
pub(super) fn add_bias(y: Tensor, bias: &Tensor) -> Result<Tensor> {
    let y = y.contiguous()?;
    let pixels = y.dims().iter().skip(2).product();
    on_card([&y, bias], |device, [y, bias]| planes::add_to_channels(device, y, pixels, bias))?;
    Ok(y)
}
