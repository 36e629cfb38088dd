//! Matrices in slices. The elements of a row are neighbours, the rows need not be.

use std::iter;
use std::ops::Range;

use faer::{MatMut, MatRef};

use super::Real;

/// A matrix in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T>(pub(super) MatRef<'a, T>);

impl<'a, T: Real> Matrix<'a, T> {
    /// The first `rows * columns` of `values`, row by row.
    ///
    /// # Panics
    ///
    /// There are fewer.
    pub(crate) fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        Self(MatRef::from_row_major_slice(&values[..rows * columns], rows, columns))
    }

    /// A row every `step` elements of `values`.
    ///
    /// # Panics
    ///
    /// There are fewer.
    pub(crate) fn spaced(values: &'a [T], rows: usize, columns: usize, step: usize) -> Self {
        Self(MatRef::from_row_major_slice_with_stride(values, rows, columns, step))
    }

    pub(crate) fn transposed(self) -> Self {
        Self(self.0.transpose())
    }

    /// The elements of a row.
    ///
    /// # Panics
    ///
    /// There is none, or the matrix is transposed.
    #[inline(always)]
    pub(crate) fn row(self, row: usize) -> &'a [T] {
        match self.0.row(row).try_as_row_major() {
            Some(row) => row.as_slice(),
            None => panic!("the rows of a transposed matrix"),
        }
    }
}

/// A matrix in a slice that is written to.
pub(crate) struct MatrixMut<'a, T>(pub(super) MatMut<'a, T>);

impl<'a, T: Real> MatrixMut<'a, T> {
    /// All of `values`, row by row.
    ///
    /// # Panics
    ///
    /// There are fewer or more than `rows * columns`.
    pub(crate) fn new(values: &'a mut [T], rows: usize, columns: usize) -> Self {
        Self(MatMut::from_row_major_slice_mut(values, rows, columns))
    }

    /// The elements of a row.
    ///
    /// # Panics
    ///
    /// There is none.
    #[inline(always)]
    pub(crate) fn row(&mut self, row: usize) -> &mut [T] {
        match self.0.as_mut().row_mut(row).try_as_row_major_mut() {
            Some(row) => row.as_slice_mut(),
            None => panic!("the rows of a transposed matrix"),
        }
    }

    /// Some of the rows.
    ///
    /// # Panics
    ///
    /// There are fewer.
    pub(crate) fn rows(&mut self, rows: Range<usize>) -> MatrixMut<'_, T> {
        MatrixMut(self.0.as_mut().subrows_mut(rows.start, rows.len()))
    }

    /// Blocks of `size` rows; the last may be smaller.
    pub(crate) fn row_blocks(self, size: usize) -> impl Iterator<Item = Self> {
        let mut rest = Some(self.0);
        iter::from_fn(move || {
            let all = rest.take().filter(|all| all.nrows() > 0)?;
            let next = all.nrows().min(size);
            let (block, others) = all.split_at_row_mut(next);
            rest = Some(others);
            Some(Self(block))
        })
    }

    /// `count` blocks of as many columns each.
    pub(crate) fn column_blocks(self, count: usize) -> impl Iterator<Item = Self> {
        let size = self.0.ncols() / count.max(1);
        let mut rest = Some(self.0);
        (0..count).map_while(move |_| {
            let (block, others) = rest.take()?.split_at_col_mut(size);
            rest = Some(others);
            Some(Self(block))
        })
    }
}
