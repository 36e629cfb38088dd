//! `y = x + b` along the last dimension, and the bias gradient that several operations share.

use candle_core::op::Add;
use candle_core::{CpuStorage, Result, Tensor, bail};

use super::operation::{Operand, Operation, Stored, each_wanted};
use crate::kernel::slices::{tensor, with};
use crate::kernel::{by_real, column_sums};
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
    record::apply([x, bias], Work::Elements, AddBias)
}

struct AddBias;

impl Operation<2> for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu(&self, operands: [Operand<'_, CpuStorage>; 2]) -> Result<CpuStorage> {
        self.portable(operands)
    }

    fn portable<S: Stored>(&self, [(x, x_l), (b, b_l)]: [Operand<'_, S>; 2]) -> Result<S> {
        x.binary_impl::<Add>(b, x_l, &b_l.broadcast_as(x_l.shape())?)
    }

    fn gradients(
        &self,
        _: [&Tensor; 2],
        _: &Tensor,
        grad: &Tensor,
        wanted: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        each_wanted(wanted, |place| match place {
            0 => Ok(grad.clone()),
            _ => sum_rows(&rows(grad)?),
        })
    }
}

/// A tensor as a matrix, with all dimensions but the last flattened, detached.
pub(super) fn rows(tensor: &Tensor) -> Result<Tensor> {
    let (last, leading) = match tensor.dims() {
        [leading @ .., last] => (*last, leading.iter().product::<usize>()),
        [] => (1, 1),
    };
    tensor.detach().contiguous()?.reshape((leading, last))
}

/// The sum of a matrix' rows; halves are summed in `f32`.
pub(super) fn sum_rows(matrix: &Tensor) -> Result<Tensor> {
    let n = matrix.dim(1)?;
    if matrix.elem_count() == 0 {
        return Tensor::zeros(n, matrix.dtype(), matrix.device());
    }
    if !matrix.device().is_cpu() {
        return matrix.sum(0);
    }
    by_real!(matrix.dtype(), T => {
        let sums = with(matrix, |values: &[T]| Ok(column_sums(values, n)))?;
        tensor(sums, n, matrix.dtype())
    })
}
