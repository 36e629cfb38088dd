//! The loops for the bias of a linear layer: sums of columns, and one row added to all rows.

use super::Real;
use super::pieces::MAP;

/// The elements that one thread sums, and the largest numbers of columns and rows among them: sums
/// of so few rows are accurate in `f32`, and are added up in `f64`.
const ELEMENTS: usize = 1 << 15;
const COLUMNS: usize = 256;
const ROWS: usize = 1 << 12;

/// The sums of the columns of rows of `n` elements.
pub(crate) fn column_sums<T: Real>(values: &[T], n: usize) -> Vec<T> {
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
    let pieces = 0..across * down;
    let parts: Vec<Vec<T>> = MAP.map(
        values.len(),
        pieces,
        #[inline(always)]
        |piece| {
            let (left, top) = (piece % across * columns, piece / across * rows * n);
            let mut sums = vec![T::zero(); columns.min(n - left)];
            // Sliced, not limited by `take`: otherwise the compiler cannot rule out that sums and
            // values overlap, and adds one by one.
            let values = &values[top..values.len().min(top + rows * n)];
            for row in values.chunks_exact(n) {
                sums.iter_mut().zip(&row[left..]).for_each(|(sum, &value)| *sum += value);
            }
            sums
        },
    );
    let mut sums = vec![0.0; n];
    for (piece, part) in parts.into_iter().enumerate() {
        let sums = &mut sums[piece % across * columns..];
        sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value.to_f64());
    }
    sums
}

/// Adds `row` to each row of a matrix, in place.
pub(crate) fn add_to_rows<T: Real>(matrix: &mut [T], row: &[T]) {
    let n = row.len().max(1);
    let rows = (MAP.grain / n).max(1) * n;
    MAP.each(
        matrix.len(),
        matrix.chunks_mut(rows),
        #[inline(always)]
        |rows| {
            for to in rows.chunks_mut(n) {
                to.iter_mut().zip(row).for_each(|(to, &value)| *to += value);
            }
        },
    );
}
