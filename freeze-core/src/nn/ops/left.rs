//! What is left of operands and results between an operation's forward and its backward.

use candle_core::{DType, Result, Shape, Tensor};

/// What is left of a tensor until the backward.
pub(super) enum Left {
    /// All of it, as the backward reads it.
    Whole(Tensor),
    Shape(Shape, DType),
}

impl Left {
    pub(super) fn of(tensor: &Tensor, reads: bool) -> Self {
        match reads {
            true => Self::Whole(tensor.detach()),
            false => Self::Shape(tensor.shape().clone(), tensor.dtype()),
        }
    }

    pub(super) fn whole(&self) -> Option<&Tensor> {
        match self {
            Self::Whole(tensor) => Some(tensor),
            Self::Shape(..) => None,
        }
    }

    /// The tensor, or one like it for who reads none of its elements: on the CPU these are no numbers, elsewhere a
    /// gradient's first, if it has one.
    pub(super) fn tensor(&self, grad: &Tensor) -> Result<Tensor> {
        let (shape, dtype) = match self {
            Self::Whole(tensor) => return Ok(tensor.clone()),
            Self::Shape(shape, dtype) => (shape, *dtype),
        };
        let one = match grad.device().is_cpu() || grad.elem_count() == 0 {
            true => Tensor::new(f64::NAN, grad.device())?,
            false => {
                let first = (0..grad.rank()).try_fold(grad.detach(), |x, dim| x.narrow(dim, 0, 1));
                first?.reshape(())?
            }
        };
        one.to_dtype(dtype)?.broadcast_as(shape)
    }
}
