//! `y = x + b` along the last dimension, and the bias gradient that several operations share.

use candle_core::backend::BackendStorage;
use candle_core::op::Add;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::cpu::{self, PARALLEL_FROM, Real, with_real};
use super::device::accelerators2;
use crate::nn::record::{self, Work};
use crate::threads;

/// The columns one thread sums.
const COLUMNS: usize = 256;

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
    record::apply2(&x.contiguous()?, &bias.contiguous()?, Work::Elements, AddBias)
}

struct AddBias;

impl AddBias {
    fn forward<S: BackendStorage>(&self, x: (&S, &Layout), b: (&S, &Layout)) -> Result<(S, Shape)> {
        let shape = x.1.shape().clone();
        Ok((x.0.binary_impl::<Add>(b.0, x.1, &b.1.broadcast_as(&shape)?)?, shape))
    }
}

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        b: &CpuStorage,
        b_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, x_l), (b, b_l))
    }

    accelerators2!(Self::forward);

    fn bwd(
        &self,
        x: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let db = if b.track_op() { Some(sum_rows(&rows(grad)?)?) } else { None };
        Ok((x.track_op().then(|| grad.clone()), db))
    }
}

/// A tensor as a matrix, all but the last dimension flattened, outside the graph.
pub(crate) fn rows(tensor: &Tensor) -> Result<Tensor> {
    let (last, leading) = match tensor.dims() {
        [leading @ .., last] => (*last, leading.iter().product::<usize>()),
        [] => (1, 1),
    };
    tensor.detach().contiguous()?.reshape((leading, last))
}

/// The sum of a matrix' rows; halves are summed in `f32`.
pub(crate) fn sum_rows(matrix: &Tensor) -> Result<Tensor> {
    let n = matrix.dim(1)?;
    if !matrix.device().is_cpu() {
        return matrix.sum(0);
    }
    with_real!(matrix.dtype(), T => {
        let sums = cpu::with(matrix, |values: &[T]| Ok(column_sums(values, n)))?;
        cpu::tensor(sums, n, matrix.dtype())
    })
}

fn column_sums<T: Real>(values: &[T], n: usize) -> Vec<T> {
    let mut sums = vec![T::zero(); n];
    let add = |(block, sums): (usize, &mut [T])| {
        for row in values.chunks_exact(n) {
            for (sum, &value) in sums.iter_mut().zip(&row[block * COLUMNS..]) {
                *sum += value;
            }
        }
    };
    if values.len() < PARALLEL_FROM {
        sums.chunks_mut(COLUMNS).enumerate().for_each(add);
    } else {
        threads::each(sums.chunks_mut(COLUMNS).enumerate(), add);
    }
    sums
}

/// Adds `bias` to each row of a product, in place.
pub(crate) fn add_in_place<T: Real>(product: CpuStorage, bias: &[T]) -> Result<CpuStorage> {
    let mut values = T::cpu_storage_data(product)?;
    let add = |row: &mut [T]| {
        for (value, &bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    };
    let n = bias.len().max(1);
    let rows = (cpu::GRAIN / n).max(1) * n;
    if values.len() < PARALLEL_FROM {
        values.chunks_mut(n).for_each(add);
    } else {
        threads::each(values.chunks_mut(rows), |rows| rows.chunks_mut(n).for_each(add));
    }
    Ok(T::to_cpu_storage_owned(values))
}
