//! A convolution as a matrix product: windows gathered as columns (im2col), and scattered back.
//!
//! A tile is a range of output rows, counted through the samples of a part of the batch. Its column
//! matrix has a row for each weight of an output channel and a column for each output pixel.

use std::ops::Range;

use super::geometry::Geometry;
use super::tap::Tap;
use crate::kernel::Real;

/// The output rows `rows` of group `group`.
#[derive(Clone)]
pub(super) struct Tile<'g> {
    pub(super) geometry: &'g Geometry,
    pub(super) group: usize,
    pub(super) rows: Range<usize>,
}

impl Tile<'_> {
    /// The number of columns.
    pub(super) fn pixels(&self) -> usize {
        self.rows.len() * self.geometry.width.output
    }

    /// Writes every element of `columns`, `[taps, pixels]`, from the inputs `x`.
    pub(super) fn gather<T: Real>(&self, x: &[T], columns: &mut [T]) {
        self.each_piece(columns, |tap, from, lines, piece| tap.gather(&x[from..], lines, piece));
    }

    /// Adds every element of `columns` to the input it was gathered from; what stands for padding becomes 0.
    #[inline(always)]
    pub(super) fn scatter<T: Real>(&self, columns: &mut [T], x: &mut [T]) {
        self.each_piece(
            columns,
            #[inline(always)]
            |tap, from, lines, piece| tap.scatter(piece, lines, &mut x[from..]),
        );
    }

    /// Calls `f` for each tap and each sample: with where in the inputs the plane begins that the tap reads, the output
    /// rows that the tile has of the sample, and their part of the columns.
    #[inline(always)]
    fn each_piece<T>(
        &self,
        columns: &mut [T],
        mut f: impl FnMut(&Tap, usize, Range<usize>, &mut [T]),
    ) {
        let (sample_in, width) = (self.geometry.sample_in(), self.geometry.width.output);
        for (tap, mut row) in columns.chunks_exact_mut(self.pixels()).enumerate() {
            let (tap, plane) = self.tap(tap);
            for (sample, lines) in self.samples() {
                let (piece, rest) = row.split_at_mut(lines.len() * width);
                row = rest;
                f(&tap, sample * sample_in + plane, lines, piece);
            }
        }
    }

    /// Copies the tile out of the outputs `y`: `[channels of the group, pixels]`.
    pub(super) fn take<T: Real>(&self, y: &[T], tile: &mut [T]) {
        for (channel, row) in tile.chunks_exact_mut(self.pixels()).enumerate() {
            let mut row = row;
            for (range, _) in self.runs(channel) {
                let (head, tail) = std::mem::take(&mut row).split_at_mut(range.len());
                head.copy_from_slice(&y[range]);
                row = tail;
            }
        }
    }

    /// Copies the tile into the outputs `y`, adding each channel's bias.
    #[inline(always)]
    pub(super) fn put<T: Real>(&self, tile: &[T], bias: Option<&[T]>, y: &mut [T]) {
        for (channel, mut row) in tile.chunks_exact(self.pixels()).enumerate() {
            for (range, channel) in self.runs(channel) {
                let (head, tail) = row.split_at(range.len());
                row = tail;
                match bias {
                    None => y[range].copy_from_slice(head),
                    Some(bias) => {
                        let bias = bias[channel];
                        y[range].iter_mut().zip(head).for_each(|(y, &value)| *y = value + bias);
                    }
                }
            }
        }
    }

    /// One of the rows of the column matrix, and the offset within a sample of the plane that it reads.
    fn tap(&self, tap: usize) -> (Tap, usize) {
        let g = self.geometry;
        let (line, tap_x) = (tap / g.width.kernel, tap % g.width.kernel);
        let (channel, tap_y) = (line / g.height.kernel, line % g.height.kernel);
        let plane = (self.group * g.group_in() + channel) * g.height.input * g.width.input;
        (Tap::new((g.height, tap_y), (g.width, tap_x)), plane)
    }

    /// The samples of which the tile has output rows, with those rows.
    fn samples(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let (rows, height) = (self.rows.clone(), self.geometry.height.output);
        (rows.start / height..rows.end.div_ceil(height)).map(move |sample| {
            let first = sample * height;
            (sample, rows.start.max(first) - first..rows.end.min(first + height) - first)
        })
    }

    /// The contiguous pieces of a channel of the tile within the outputs, with the index of the
    /// channel among all channels.
    fn runs(&self, channel: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
        let g = *self.geometry;
        let channel = self.group * g.group_out() + channel;
        self.samples().map(move |(sample, rows)| {
            let base = sample * g.sample_out() + channel * g.pixels();
            (base + rows.start * g.width.output..base + rows.end * g.width.output, channel)
        })
    }
}

#[cfg(test)]
mod tests;
