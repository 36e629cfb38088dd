//! The loops over pooling windows, with planes in parallel.

use std::ops::Range;

use candle_core::Shape;

use super::pieces::MAP;
use super::{Real, sum1};

/// The number of elements from which on a window is summed in `f64`.
const LARGE: usize = 1 << 10;

/// Windows over planes of one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// Samples and channels.
    pub(crate) planes: (usize, usize),
    pub(crate) input: (usize, usize),
    pub(crate) output: (usize, usize),
    pub(crate) kernel: (usize, usize),
    pub(crate) stride: (usize, usize),
    /// The rows and columns on each side that are not there: no window takes them for its maximum, and means have
    /// none.
    pub(crate) padding: (usize, usize),
}

impl Windows {
    pub(crate) fn output_shape(&self) -> Shape {
        Shape::from((self.planes.0, self.planes.1, self.output.0, self.output.1))
    }

    /// Each window's maximum; NaN if it contains one.
    pub(crate) fn max<T: Real>(&self, x: &[T]) -> Vec<T> {
        let least = T::from_f64(f64::NEG_INFINITY);
        let mut y = vec![least; self.planes.0 * self.planes.1 * self.output.0 * self.output.1];
        let (from, to) = (self.input.0 * self.input.1, self.output.0 * self.output.1);
        each_plane((&mut y, to), (x, from), |y, x| {
            self.each_tap(0..self.kernel.0, |outputs, first| {
                let row = y[outputs].iter_mut();
                let row = row.zip(x[first..].iter().step_by(self.stride.1));
                row.for_each(|(max, &value)| {
                    *max = if *max < value || is_nan(value) { value } else { *max };
                });
            });
        });
        y
    }

    /// Each window's mean, summed in candle's order, or in `f64` if it is large.
    pub(crate) fn mean<T: Real>(&self, x: &[T]) -> Vec<T> {
        if self.kernel.0 * self.kernel.1 > LARGE {
            return self.mean_of_large(x);
        }
        let mut y = vec![T::zero(); self.planes.0 * self.planes.1 * self.output.0 * self.output.1];
        let (from, to) = (self.input.0 * self.input.1, self.output.0 * self.output.1);
        let scale = self.scale::<T>();
        each_plane((&mut y, to), (x, from), |y, x| {
            self.each_tap(0..self.kernel.0, |outputs, first| {
                let row = y[outputs].iter_mut();
                let row = row.zip(x[first..].iter().step_by(self.stride.1));
                row.for_each(|(sum, &value)| *sum += value);
            });
            y.iter_mut().for_each(|sum| *sum *= scale);
        });
        y
    }

    fn mean_of_large<T: Real>(&self, x: &[T]) -> Vec<T> {
        let mut y = vec![T::zero(); self.planes.0 * self.planes.1 * self.output.0 * self.output.1];
        let (from, to) = (self.input.0 * self.input.1, self.output.0 * self.output.1);
        each_plane((&mut y, to), (x, from), |y, x| {
            self.each_window(|out, [rows, columns]| {
                let lines = x.chunks(self.input.1).take(rows.end).skip(rows.start);
                let sums = lines.map(|line| sum1(&line[columns.clone()], |value| [value])[0]);
                y[out] = T::from_f64(sums.sum::<f64>() * self.scale::<f64>());
            });
        });
        y
    }

    /// Each window's gradient at its first maximum, or its first NaN.
    pub(crate) fn max_gradient<T: Real>(&self, x: &[T], grad: &[T]) -> Vec<T> {
        let mut dx = vec![T::zero(); x.len()];
        let (from, to) = (self.input.0 * self.input.1, self.output.0 * self.output.1);
        let run = |(dx, (grad, x)): (&mut [T], (&[T], &[T]))| {
            self.each_window(|out, window| dx[self.first_max(x, window)] += grad[out]);
        };
        let planes = dx.chunks_mut(from).zip(grad.chunks(to).zip(x.chunks(from)));
        MAP.each(x.len(), planes, run);
        dx
    }

    /// Each window's gradient, spread evenly.
    pub(crate) fn mean_gradient<T: Real>(&self, grad: &[T]) -> Vec<T> {
        let mut dx = vec![T::zero(); self.planes.0 * self.planes.1 * self.input.0 * self.input.1];
        let (from, to) = (self.output.0 * self.output.1, self.input.0 * self.input.1);
        let scale = self.scale::<T>();
        each_plane((&mut dx, to), (grad, from), |dx, grad| {
            // So that what an input has of several rows of windows is summed in their order.
            self.each_tap((0..self.kernel.0).rev(), |outputs, first| {
                let row = dx[first..].iter_mut().step_by(self.stride.1);
                let row = row.zip(&grad[outputs]);
                row.for_each(|(to, &grad)| *to += grad * scale);
            });
        });
        dx
    }

    /// One over the size of a window.
    pub(crate) fn scale<T: Real>(&self) -> T {
        T::from_f64(1. / (self.kernel.0 * self.kernel.1) as f64)
    }

    /// Calls `f` for each position in a window and each row of outputs, as far as it is not padding: with the
    /// outputs, and the index of the input there of the first. Long loops over rows are faster than short ones over
    /// windows. The `lines` of a window come in their order.
    fn each_tap(&self, lines: impl Iterator<Item = usize>, mut f: impl FnMut(Range<usize>, usize)) {
        for line in lines {
            let rows = self.outputs_at(line, 0);
            for column in 0..self.kernel.1 {
                let columns = self.outputs_at(column, 1);
                if columns.is_empty() {
                    continue;
                }
                let first = columns.start * self.stride.1 + column - self.padding.1;
                for row in rows.clone() {
                    let (out, line) = (row * self.output.1, row * self.stride.0 + line);
                    let from = (line - self.padding.0) * self.input.1 + first;
                    f(out + columns.start..out + columns.end, from);
                }
            }
        }
    }

    /// The outputs along a side, 0 or 1, whose windows have an input at `place`.
    fn outputs_at(&self, place: usize, side: usize) -> Range<usize> {
        let (stride, padding, input, output) = match side {
            0 => (self.stride.0, self.padding.0, self.input.0, self.output.0),
            _ => (self.stride.1, self.padding.1, self.input.1, self.output.1),
        };
        let start = padding.saturating_sub(place).div_ceil(stride);
        let end = (input + padding).saturating_sub(place).div_ceil(stride).min(output);
        start.min(end)..end
    }

    /// The inputs along a side, 0 or 1, of a window that begins at `first` of what is padded.
    fn within(&self, first: usize, side: usize) -> Range<usize> {
        let (size, input, padding) = match side {
            0 => (self.kernel.0, self.input.0, self.padding.0),
            _ => (self.kernel.1, self.input.1, self.padding.1),
        };
        first.saturating_sub(padding)..(first + size).saturating_sub(padding).min(input)
    }

    /// Calls `f` with each output's index, and the rows and columns of its window.
    fn each_window(&self, mut f: impl FnMut(usize, [Range<usize>; 2])) {
        for row in 0..self.output.0 {
            let rows = self.within(row * self.stride.0, 0);
            for column in 0..self.output.1 {
                let columns = self.within(column * self.stride.1, 1);
                f(row * self.output.1 + column, [rows.clone(), columns]);
            }
        }
    }

    /// The index of the first maximum of a window.
    fn first_max<T: Real>(&self, x: &[T], [rows, columns]: [Range<usize>; 2]) -> usize {
        let first = rows.start * self.input.1 + columns.start;
        let (mut at, mut max) = (first, x[first]);
        for row in rows {
            let start = row * self.input.1 + columns.start;
            for (column, &value) in x[start..][..columns.len()].iter().enumerate() {
                if max < value || is_nan(value) && !is_nan(max) {
                    (at, max) = (start + column, value);
                }
            }
        }
        at
    }
}

fn is_nan<T: Real>(value: T) -> bool {
    value.partial_cmp(&value).is_none()
}

/// Runs `f` over planes of `to` and `from`, each with the length of a plane.
fn each_plane<T: Real>(
    to: (&mut [T], usize),
    from: (&[T], usize),
    f: impl Fn(&mut [T], &[T]) + Sync,
) {
    let planes = to.0.chunks_mut(to.1).zip(from.0.chunks(from.1));
    MAP.each(from.0.len(), planes, |(to, from)| f(to, from));
}

#[cfg(test)]
mod tests;
