//! The normalisations: kernels on the CPU, candle's operations elsewhere.

pub(in crate::nn) mod by_channel;
#[cfg(feature = "cuda")]
mod plane_card_op;
pub(in crate::nn) mod plane_op;
mod plane_sum_op;
pub(in crate::nn) mod row_op;

use std::fmt::Display;

use candle_core::{Device, Result, Tensor, bail};

use crate::error::Error;
use crate::kernel::Element;

/// Weight and bias per channel.
pub(in crate::nn) type Affine<'a> = Option<(&'a Tensor, &'a Tensor)>;

/// An error for an `eps` that is negative or not finite.
pub(in crate::nn) fn check_eps(eps: f64) -> Result<()> {
    match eps {
        0.0.. if eps.is_finite() => Ok(()),
        _ => {
            Err(Error::Number { name: "eps", value: eps, expected: "a number of at least 0" }
                .into())
        }
    }
}

/// An error unless the scales have `size` elements of the input's type; `has` describes what the
/// input has.
fn check_scales(
    x: &Tensor,
    size: usize,
    has: impl Display,
    scales: [(&str, Option<&Tensor>); 2],
) -> Result<()> {
    for (name, tensor) in scales {
        let Some(tensor) = tensor else { continue };
        if tensor.dims() != [size] {
            bail!("{has}, but the {name} has shape {:?}", tensor.dims())
        }
        let (dtype, other) = (x.dtype(), tensor.dtype());
        if dtype != other {
            bail!(
                "the input is {dtype:?}, but the {name} is {other:?}; convert one with `to_dtype`"
            )
        }
    }
    Ok(())
}

/// Which of three operands are wanted; those that do not exist are not.
fn three(wanted: &[bool]) -> [bool; 3] {
    let mut three = [false; 3];
    for (to, wanted) in three.iter_mut().zip(wanted) {
        *to = *wanted;
    }
    three
}

/// The gradients of as many operands as there are.
fn of_operands<const N: usize>(mut gradients: [Option<Tensor>; 3]) -> [Option<Tensor>; N] {
    let mut found = [const { None }; N];
    for (found, gradient) in found.iter_mut().zip(&mut gradients) {
        *found = gradient.take();
    }
    found
}

/// The gradients of input, weight and bias, as far as they exist, in the operands' shapes.
fn tensors<T: Element>(
    mut gradients: [Option<Vec<T>>; 3],
    operands: &[&Tensor],
) -> Result<[Option<Tensor>; 3]> {
    let mut tensors = [const { None }; 3];
    for ((to, operand), elements) in tensors.iter_mut().zip(operands).zip(&mut gradients) {
        let elements = elements.take();
        *to = elements.map(|e| Tensor::from_vec(e, operand.shape(), &Device::Cpu)).transpose()?;
    }
    Ok(tensors)
}
