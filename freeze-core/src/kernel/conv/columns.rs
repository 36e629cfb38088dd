//! A convolution as a matrix product: windows gathered as columns (im2col), and scattered back.
//!
//! A tile is a range of output rows, counted through the samples of a part of the batch. Its column
//! matrix has a row for each weight of an output channel and a column for each output pixel.

use std::ops::Range;

use super::geometry::Geometry;
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
        let width = self.geometry.width;
        for (tap, row) in columns.chunks_exact_mut(self.pixels()).enumerate() {
            let (tap_x, from) = (tap % width.kernel, self.plane(tap));
            let inside = width.inside(tap_x);
            let first = width.source(inside.start, tap_x).unwrap_or(0);
            for (out, row) in self.rows.clone().zip(row.chunks_exact_mut(width.output)) {
                let Some(start) = self.source(out, tap).filter(|_| !inside.is_empty()) else {
                    row.fill(T::zero());
                    continue;
                };
                let line = &x[from + start..][..width.input];
                row[..inside.start].fill(T::zero());
                row[inside.end..].fill(T::zero());
                let row = &mut row[inside.clone()];
                if width.stride == 1 {
                    row.copy_from_slice(&line[first..][..row.len()]);
                } else {
                    let line = line[first..].iter().step_by(width.stride);
                    row.iter_mut().zip(line).for_each(|(to, &from)| *to = from);
                }
            }
        }
    }

    /// Adds every element of `columns` to the input it was gathered from.
    pub(super) fn scatter<T: Real>(&self, columns: &[T], x: &mut [T]) {
        let width = self.geometry.width;
        for (tap, row) in columns.chunks_exact(self.pixels()).enumerate() {
            let (tap_x, to) = (tap % width.kernel, self.plane(tap));
            let inside = width.inside(tap_x);
            let first = width.source(inside.start, tap_x).unwrap_or(0);
            for (out, row) in self.rows.clone().zip(row.chunks_exact(width.output)) {
                let Some(start) = self.source(out, tap).filter(|_| !inside.is_empty()) else {
                    continue;
                };
                let (row, line) = (&row[inside.clone()], &mut x[to + start..][..width.input]);
                if width.stride == 1 {
                    let line = &mut line[first..][..row.len()];
                    line.iter_mut().zip(row).for_each(|(to, &from)| *to += from);
                } else {
                    let line = line[first..].iter_mut().step_by(width.stride);
                    line.zip(row).for_each(|(to, &from)| *to += from);
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

    /// The offset of a tap's channel within a sample.
    fn plane(&self, tap: usize) -> usize {
        let g = self.geometry;
        let channel = self.group * g.group_in() + tap / (g.height.kernel * g.width.kernel);
        channel * g.height.input * g.width.input
    }

    /// The offset of the line that a tap reads for output row `out`, from the tap's plane of the
    /// first sample; `None` in the padding.
    fn source(&self, out: usize, tap: usize) -> Option<usize> {
        let g = self.geometry;
        let (sample, row) = (out / g.height.output, out % g.height.output);
        let line = g.height.source(row, tap / g.width.kernel % g.height.kernel)?;
        Some(sample * g.sample_in() + line * g.width.input)
    }

    /// The contiguous pieces of a channel of the tile within the outputs, with the index of the
    /// channel among all channels.
    fn runs(&self, channel: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
        let g = *self.geometry;
        let channel = self.group * g.group_out() + channel;
        let rows = self.rows.clone();
        (rows.start / g.height.output..rows.end.div_ceil(g.height.output)).map(move |sample| {
            let first = sample * g.height.output;
            let from = rows.start.max(first) - first;
            let to = rows.end.min(first + g.height.output) - first;
            let base = sample * g.sample_out() + channel * g.pixels();
            (base + from * g.width.output..base + to * g.width.output, channel)
        })
    }
}
