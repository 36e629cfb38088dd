//! Where the rows of a head lie: queries, keys, values, the result and all their gradients.

use std::ops::Range;

use crate::kernel::{Matrix, MatrixMut, Real};

/// What has a row for each place of each head.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a, T> {
    pub(crate) values: &'a [T],
    /// From one batch, head and place to the next.
    pub(crate) steps: [usize; 3],
}

impl<'a, T: Real> Heads<'a, T> {
    /// Rows of a head.
    pub(super) fn matrix(
        &self,
        [batch, head]: [usize; 2],
        places: Range<usize>,
        columns: usize,
    ) -> Matrix<'a, T> {
        let first = [batch, head, places.start].into_iter().zip(self.steps);
        let first: usize = first.map(|(count, step)| count * step).sum();
        Matrix::spaced(&self.values[first..], places.len(), columns, self.steps[2])
    }
}

/// In which order rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// `[batch, heads, places, size]`.
    Apart,
    /// `[batch, places, heads, size]`.
    SideBySide,
}

impl Order {
    /// From one batch, head and place to the next, of what was written in this order.
    pub(crate) fn steps(self, [heads, places, size]: [usize; 3]) -> [usize; 3] {
        let batch = heads * places * size;
        match self {
            Self::Apart => [batch, places * size, size],
            Self::SideBySide => [batch, size, heads * size],
        }
    }

    /// A matrix for each head of each batch.
    pub(super) fn cut<T: Real>(
        self,
        values: &mut [T],
        [heads, places, size]: [usize; 3],
    ) -> Vec<MatrixMut<'_, T>> {
        match self {
            Self::Apart => {
                let each = values.chunks_mut((places * size).max(1));
                each.map(|values| MatrixMut::new(values, places, size)).collect()
            }
            Self::SideBySide => {
                let batches = values.chunks_mut((heads * places * size).max(1));
                let rows = |values| MatrixMut::new(values, places, heads * size);
                batches.flat_map(|values| rows(values).column_blocks(heads)).collect()
            }
        }
    }
}
