//! `y = x + b` along the last dimension, and the bias gradient that several operations share.

use candle_core::op::Add;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::cpu::{self, PARALLEL_FROM, Real, with_real};
use super::device::{Stored, accelerators2, nothing};
use crate::nn::record::{self, Work};
use crate::threads;

/// The elements that one thread sums, and the most columns and rows among them: sums of so few rows
/// lose nothing in `f32`, and are put together in `f64`.
const ELEMENTS: usize = 1 << 15;
const COLUMNS: usize = 256;
const ROWS: usize = 1 << 12;

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
    fn forward<S: Stored>(&self, x: (&S, &Layout), b: (&S, &Layout)) -> Result<(S, Shape)> {
        let shape = x.1.shape().clone();
        if let Some(nothing) = nothing(x.0, &shape)? {
            return Ok(nothing);
        }
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
    if matrix.elem_count() == 0 {
        return Tensor::zeros(n, matrix.dtype(), matrix.device());
    }
    if !matrix.device().is_cpu() {
        return matrix.sum(0);
    }
    with_real!(matrix.dtype(), T => {
        let sums = cpu::with(matrix, |values: &[T]| Ok(column_sums(values, n)))?;
        cpu::tensor(sums, n, matrix.dtype())
    })
}

fn column_sums<T: Real>(values: &[T], n: usize) -> Vec<T> {
    // Narrow rows are summed several at a time, as if they were one.
    let side_by_side = (16 / n.max(1)).max(1);
    let (values, rest) = values.split_at(values.len() - values.len() % (n * side_by_side).max(1));
    let mut sums = vec![0.0; n];
    let wide = wide_column_sums(values, n * side_by_side);
    for row in wide.chunks_exact(n.max(1)) {
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value);
    }
    for row in rest.chunks_exact(n.max(1)) {
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value.to_f64());
    }
    sums.into_iter().map(T::from_f64).collect()
}

/// The sums of columns in pieces of fixed size, the same on any number of threads.
fn wide_column_sums<T: Real>(values: &[T], n: usize) -> Vec<f64> {
    let columns = n.clamp(1, COLUMNS);
    let rows = (ELEMENTS / columns).clamp(1, ROWS);
    let across = n.div_ceil(columns);
    let down = values.len().div_ceil((rows * n).max(1));
    let sum = |piece: usize| {
        let (left, top) = (piece % across * columns, piece / across * rows * n);
        let mut sums = vec![T::zero(); columns.min(n - left)];
        for row in values[top..].chunks_exact(n).take(rows) {
            sums.iter_mut().zip(&row[left..]).for_each(|(sum, &value)| *sum += value);
        }
        sums
    };
    let pieces = 0..across * down;
    let parts: Vec<Vec<T>> = match values.len() < PARALLEL_FROM {
        true => pieces.map(sum).collect(),
        false => threads::map(pieces, sum),
    };
    let mut sums = vec![0.0; n];
    for (piece, part) in parts.into_iter().enumerate() {
        let sums = &mut sums[piece % across * columns..];
        sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value.to_f64());
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
