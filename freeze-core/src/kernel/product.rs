//! Matrix products into existing memory.
//!
//! candle's product allocates its result, runs on threads that other work can block and, unless
//! `RAYON_NUM_THREADS` is set, reads `/proc/cpuinfo` each time to count processors. Here `faer`
//! multiplies pieces, each on one thread: it uses the widest vectors that the processor has, and is
//! faster where the columns of an operand are a power of two apart, as in most weights
//! (`docs/PERFORMANCE.md`, "Products").

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::matrix::{Matrix, MatrixMut};
use super::{Real, threads};

/// Multiplications that make a piece worth a thread of its own.
const PIECE: usize = 1 << 21;
/// The smallest number of rows or columns of a piece.
const SIDE: usize = 64;
/// The largest number of pieces. It must not depend on the machine, so that equal runs give equal
/// bits.
const PIECES: usize = 32;

impl<T: Real> Matrix<'_, T> {
    /// `self * other`, row by row, on all threads.
    ///
    /// # Panics
    ///
    /// As [`times`](Self::times).
    pub(crate) fn product(self, other: Self) -> Vec<T> {
        let mut product = vec![T::zero(); self.0.nrows() * other.0.ncols()];
        self.times(other, &mut product, false, Threads::All);
        product
    }

    /// Writes `self * other` into `to`, row by row, or adds it to `to`.
    ///
    /// # Panics
    ///
    /// The inner sizes differ, or `to` has another length than the product.
    pub(crate) fn times(self, other: Self, to: &mut [T], add: bool, on: Threads) {
        let (left, right) = (self.0, other.0);
        let (m, n, k) = (left.nrows(), right.ncols(), left.ncols());
        assert_eq!(k, right.nrows(), "the inner sizes of a product");
        assert_eq!(to.len(), m * n, "the elements of a product");
        let whole = (left, right, MatMut::from_row_major_slice_mut(to, m, n));
        let most = (m.max(n) / SIDE).min(m.saturating_mul(n).saturating_mul(k) / PIECE);
        match on {
            Threads::All if most > 1 => {
                let mut pieces = vec![whole];
                while pieces.len() * 2 <= most.min(PIECES) {
                    pieces = pieces.into_iter().flat_map(halves).collect();
                }
                threads::each(pieces.into_iter(), |piece| multiply(piece, add));
            }
            _ => multiply(whole, add),
        }
    }

    /// As [`times`](Self::times) on the calling thread, into rows that may lie apart.
    ///
    /// # Panics
    ///
    /// The sizes do not fit.
    pub(crate) fn times_into(self, other: Self, to: MatrixMut<'_, T>, add: bool) {
        multiply((self.0, other.0, to.0), add);
    }
}

/// The threads that a product runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Threads {
    /// The calling thread.
    One,
    /// All threads, in pieces that depend only on the sizes.
    All,
}

/// Two operands, and the part of the product that they make.
type Piece<'a, T> = (MatRef<'a, T>, MatRef<'a, T>, MatMut<'a, T>);

/// Splits a product into two, by halves of the longer side.
fn halves<T>((left, right, to): Piece<'_, T>) -> [Piece<'_, T>; 2] {
    let (m, n) = (to.nrows(), to.ncols());
    if m > n {
        let (front, back) = to.split_at_row_mut(m / 2);
        let (upper, lower) = left.split_at_row(m / 2);
        [(upper, right, front), (lower, right, back)]
    } else {
        let (front, back) = to.split_at_col_mut(n / 2);
        let (first, last) = right.split_at_col(n / 2);
        [(left, first, front), (left, last, back)]
    }
}

fn multiply<T: Real>((left, right, mut to): Piece<'_, T>, add: bool) {
    let (m, n) = (to.nrows(), to.ncols());
    if add && m.min(n) == 1 {
        // A vector's terms would be added to what is there one by one.
        let mut product = vec![T::ZERO; m * n];
        let alone = MatMut::from_row_major_slice_mut(&mut product, m, n);
        matmul(alone, Accum::Replace, left, right, T::one(), Par::Seq);
        to += MatRef::from_row_major_slice(&product, m, n);
        return;
    }
    let accum = if add { Accum::Add } else { Accum::Replace };
    matmul(to, accum, left, right, T::one(), Par::Seq);
}

/// Writes `gradᵀ x`, of `[count, out]` and `[count, inner]`, into `to`.
///
/// # Panics
///
/// `to` has another length than the product.
pub(crate) fn gradient_times_input<T: Real>(grad: &[T], x: &[T], sizes: [usize; 3], to: &mut [T]) {
    /// The number of rows whose products can be added one by one accurately.
    const ROWS: usize = 1 << 12;
    let [count, out, inner] = sizes;
    let operands =
        |grad, x, count| (Matrix::new(grad, count, out).transposed(), Matrix::new(x, count, inner));
    if out.min(inner) != 1 || count <= ROWS {
        let (grad, x) = operands(grad, x, count);
        return grad.times(x, to, false, Threads::All);
    }
    // A product of a vector and a matrix adds all rows one by one, in the elements' own precision.
    let pieces = grad.chunks(ROWS * out).zip(x.chunks(ROWS * inner));
    let parts = threads::map(pieces, |(grad, x)| {
        let (grad, x) = operands(grad, x, grad.len() / out);
        let mut part = vec![T::zero(); out * inner];
        grad.times(x, &mut part, false, Threads::One);
        part
    });
    let mut sums = vec![0.0; out * inner];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value.to_f64());
    }
    to.iter_mut().zip(sums).for_each(|(to, sum)| *to = T::from_f64(sum));
}

#[cfg(test)]
mod tests {
    use super::{Matrix, Threads};

    #[test]
    fn products_of_all_orientations_are_written_or_added() {
        let small = [(1, 1, 1), (3, 5, 2), (7, 1, 9), (2, 3, 0), (0, 3, 2), (33, 40, 65)];
        // Two pieces of columns, two of rows, and one that is uneven.
        let large = [(70, 150, 410), (300, 70, 210), (97, 389, 167)];
        for (m, n, k) in small.into_iter().chain(large) {
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
                    left.times(right, &mut to, false, Threads::One);
                    assert_eq!(to, expected, "{m} {n} {k}");
                    left.times(right, &mut to, true, Threads::All);
                    assert!(to.iter().zip(&expected).all(|(to, value)| *to == 2.0 * value));
                }
            }
        }
    }

    #[test]
    fn a_product_a_vector_is_added_as_a_whole() {
        const LARGE: f32 = (1 << 24) as f32; // to which 1 is nothing
        let ones = [1f32; 300];
        let vector = Matrix::new(&ones, 1, 100);
        let matrix = Matrix::new(&ones, 100, 3);
        for on in [Threads::One, Threads::All] {
            let mut to = [LARGE; 3];
            vector.times(matrix, &mut to, true, on);
            matrix.transposed().times(vector.transposed(), &mut to, true, on);
            assert_eq!(to, [LARGE + 200.0; 3]);
        }
    }

    #[test]
    #[should_panic(expected = "the inner sizes")]
    fn other_inner_sizes_are_refused() {
        let values = [1f32; 6];
        let (left, right) = (Matrix::new(&values, 2, 3), Matrix::new(&values, 2, 3));
        left.times(right, &mut [0.0; 6], false, Threads::One);
    }

    #[test]
    #[should_panic(expected = "the elements of a product")]
    fn too_little_room_is_refused() {
        let values = [1f32; 6];
        let left = Matrix::new(&values, 2, 3);
        left.times(left.transposed(), &mut [0.0; 3], false, Threads::One);
    }
}
