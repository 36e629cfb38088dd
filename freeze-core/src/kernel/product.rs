//! Matrix products into memory that is already there.
//!
//! candle's product allocates its result and, unless `RAYON_NUM_THREADS` is set, reads `/proc/cpuinfo`
//! each time to count processors. A convolution makes hundreds of small products, for which both cost
//! as much as the product itself.

use gemm::{Parallelism, gemm};

use super::{Real, threads};

/// Multiplications below which a product is not worth sharing out: `gemm`'s own bound.
const SHARED: usize = 48 * 48 * 256;

/// A matrix in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T: Real> Matrix<'a, T> {
    /// The first `rows * columns` of `values`, row by row.
    ///
    /// # Panics
    ///
    /// There are fewer.
    pub(crate) fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        let values = &values[..rows * columns];
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    pub(crate) fn transposed(self) -> Self {
        let Self { values, rows, columns, row_stride, column_stride } = self;
        Self {
            values,
            rows: columns,
            columns: rows,
            row_stride: column_stride,
            column_stride: row_stride,
        }
    }

    /// `self * other`, row by row.
    ///
    /// # Panics
    ///
    /// As [`times`](Self::times).
    pub(crate) fn times_alone(self, other: Self, threads: usize) -> Vec<T> {
        let mut product = vec![T::zero(); self.rows * other.columns];
        self.times(other, &mut product, false, threads);
        product
    }

    /// Writes `self * other` into `to`, row by row, or adds it to what is there; on so many threads if
    /// it is large.
    ///
    /// # Panics
    ///
    /// The inner sizes differ, or `to` has another length than the product.
    pub(crate) fn times(self, other: Self, to: &mut [T], add: bool, threads: usize) {
        let products = self.rows.saturating_mul(other.columns).saturating_mul(self.columns);
        if threads < 2 || products < SHARED {
            return self.multiply(other, to, add, Parallelism::None);
        }
        threads::within(|| self.multiply(other, to, add, Parallelism::Rayon(threads)));
    }

    #[allow(unsafe_code)]
    fn multiply(self, other: Self, to: &mut [T], add: bool, threads: Parallelism) {
        let (m, n, k) = (self.rows, other.columns, self.columns);
        assert_eq!(k, other.rows, "the inner sizes of a product");
        assert_eq!(to.len(), m * n, "the elements of a product");
        // SAFETY: both operands hold `rows * columns` elements and their strides are those of that
        // many, row by row or column by column; `to` holds `m * n` and is borrowed for writing. So
        // every element that is read or written lies in its slice. `Real` is `f32` or `f64`, which
        // `gemm` has kernels for.
        unsafe {
            gemm(
                m,
                n,
                k,
                to.as_mut_ptr(),
                1,
                n as isize,
                add,
                self.values.as_ptr(),
                self.column_stride as isize,
                self.row_stride as isize,
                other.values.as_ptr(),
                other.column_stride as isize,
                other.row_stride as isize,
                T::one(),
                T::one(),
                false,
                false,
                false,
                threads,
            );
        }
    }
}

/// `gradᵀ x`, of `[count, out]` and `[count, inner]`.
pub(crate) fn gradient_times_input<T: Real>(grad: &[T], x: &[T], sizes: [usize; 3]) -> Vec<T> {
    /// Rows that lose nothing where their products are added up one by one.
    const ROWS: usize = 1 << 12;
    let [count, out, inner] = sizes;
    let times = |grad, x, count, threads| {
        let grad = Matrix::new(grad, count, out).transposed();
        grad.times_alone(Matrix::new(x, count, inner), threads)
    };
    if out.min(inner) != 1 || count <= ROWS {
        return times(grad, x, count, threads::count());
    }
    // Of a vector and a matrix `gemm` adds up all rows one by one, in the elements' own precision.
    let pieces = grad.chunks(ROWS * out).zip(x.chunks(ROWS * inner));
    let parts = threads::map(pieces, |(grad, x)| times(grad, x, grad.len() / out, 1));
    let mut sums = vec![0.0; out * inner];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value.to_f64());
    }
    sums.into_iter().map(T::from_f64).collect()
}

#[cfg(test)]
mod tests {
    use super::Matrix;

    #[test]
    fn products_of_all_orientations_are_written_or_added() {
        for (m, n, k) in
            [(1, 1, 1), (3, 5, 2), (7, 1, 9), (2, 3, 0), (0, 3, 2), (33, 40, 65), (97, 89, 83)]
        {
            let numbers = |count: usize| (0..count).map(|i| (i * 7 % 11) as f64 - 5.0);
            let (a, b): (Vec<f64>, Vec<f64>) = (numbers(m * k).collect(), numbers(k * n).collect());
            let at = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum::<f64>();
            let expected: Vec<f64> = (0..m).flat_map(|i| (0..n).map(move |j| at(i, j))).collect();
            let turned = |values: &[f64], rows: usize, columns: usize| -> Vec<f64> {
                (0..columns).flat_map(|j| (0..rows).map(move |i| values[i * columns + j])).collect()
            };
            let (a_turned, b_turned) = (turned(&a, m, k), turned(&b, k, n));
            let lefts = [Matrix::new(&a, m, k), Matrix::new(&a_turned, k, m).transposed()];
            let rights = [Matrix::new(&b, k, n), Matrix::new(&b_turned, n, k).transposed()];
            for left in lefts {
                for right in rights {
                    let mut to = vec![f64::NAN; m * n];
                    left.times(right, &mut to, false, 1);
                    assert_eq!(to, expected, "{m} {n} {k}");
                    left.times(right, &mut to, true, 2);
                    assert!(to.iter().zip(&expected).all(|(to, value)| *to == 2.0 * value));
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "the inner sizes")]
    fn other_inner_sizes_are_refused() {
        let values = [1f32; 6];
        let (left, right) = (Matrix::new(&values, 2, 3), Matrix::new(&values, 2, 3));
        left.times(right, &mut [0.0; 6], false, 1);
    }

    #[test]
    #[should_panic(expected = "the elements of a product")]
    fn too_little_room_is_refused() {
        let values = [1f32; 6];
        let left = Matrix::new(&values, 2, 3);
        left.times(left.transposed(), &mut [0.0; 3], false, 1);
    }
}
