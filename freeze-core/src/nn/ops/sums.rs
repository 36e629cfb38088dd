//! Sums over all dimensions but the last.

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
use crate::kernel::cuda;
use crate::kernel::slices::{tensor, with};
use crate::kernel::{by_real, column_sums};

/// A tensor as a matrix, all but the last dimension flattened, outside the graph.
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
    #[cfg(feature = "cuda")]
    if matrix.device().is_cuda() {
        let sums = cuda::on_card([matrix], |device, [values]| {
            cuda::sums::column_sums(device, &values, n)
        })?;
        return Ok(cuda::tensor(sums, n));
    }
    if !matrix.device().is_cpu() {
        return matrix.sum(0);
    }
    by_real!(matrix.dtype(), T => {
        let sums = with(matrix, |values: &[T]| Ok(column_sums(values, n)))?;
        tensor(sums, n, matrix.dtype())
    })
}
