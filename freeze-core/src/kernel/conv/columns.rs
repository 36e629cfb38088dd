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
        let (g, pixels) = (self.geometry, self.pixels());
        // The same for every channel: to find them takes divisions.
        let (taps, samples): (Vec<Tap>, Vec<_>) = (self.taps().collect(), self.samples().collect());
        let channels = columns.chunks_exact_mut(pixels * taps.len());
        for (channel, rows) in (self.group * g.group_in()..).zip(channels) {
            let plane = channel * g.height.input * g.width.input;
            for (tap, mut row) in taps.iter().zip(rows.chunks_exact_mut(pixels)) {
                for (sample, lines) in &samples {
                    let (piece, rest) = row.split_at_mut(lines.len() * g.width.output);
                    row = rest;
                    f(tap, sample * g.sample_in() + plane, lines.clone(), piece);
                }
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

    /// The places of the kernel, which the rows of the column matrix have for each channel.
    fn taps(&self) -> impl Iterator<Item = Tap> {
        let (height, width) = (self.geometry.height, self.geometry.width);
        let line = move |y| (0..width.kernel).map(move |x| Tap::new((height, y), (width, x)));
        (0..height.kernel).flat_map(line)
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
