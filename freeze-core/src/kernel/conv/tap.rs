//! What one place in a kernel reads: a plane of the input, shifted.

use std::ops::Range;

use super::geometry::Axis;
use crate::kernel::Real;

/// A place in the kernel.
pub(super) struct Tap {
    height: Axis,
    width: Axis,
    /// The output rows, and the outputs of each, for which it reads inside the plane, and what it reads for the first.
    rows: Range<usize>,
    outputs: Range<usize>,
    first: usize,
}

/// Of a piece of some output rows: those above and below read padding.
struct Lines {
    above: usize,
    below: usize,
    /// What the first line between them reads first, within the plane.
    from: usize,
}

impl Tap {
    /// The place in the kernel along either axis.
    pub(super) fn new((height, tap_y): (Axis, usize), (width, tap_x): (Axis, usize)) -> Self {
        let (mut rows, outputs) = (height.inside(tap_y), width.inside(tap_x));
        if outputs.is_empty() {
            rows.end = rows.start;
        }
        let line = height.source(rows.start, tap_y).unwrap_or(0);
        let first = line * width.input + width.source(outputs.start, tap_x).unwrap_or(0);
        Self { height, width, rows, outputs, first }
    }

    /// Writes all of `piece`, `[lines, width of the output]`.
    pub(super) fn gather<T: Real>(&self, plane: &[T], lines: Range<usize>, piece: &mut [T]) {
        let Lines { above, below, from } = self.lines(lines);
        let (top, piece) = piece.split_at_mut(above);
        let (piece, bottom) = piece.split_at_mut(below - above);
        top.fill(T::zero());
        bottom.fill(T::zero());
        if piece.is_empty() {
            return;
        }
        let Self { height, width, outputs, .. } = self;
        if self.is_shift() {
            let len = piece.len() - width.output + outputs.len();
            piece[outputs.start..][..len].copy_from_slice(&plane[from..][..len]);
        } else {
            let sources = plane[from..].chunks(height.stride.saturating_mul(width.input));
            for (line, source) in piece.chunks_exact_mut(width.output).zip(sources) {
                let line = &mut line[outputs.clone()];
                match width.stride {
                    1 => line.copy_from_slice(&source[..line.len()]),
                    by => {
                        line.iter_mut().zip(source.iter().step_by(by)).for_each(|(to, &x)| *to = x)
                    }
                }
            }
        }
        self.clear_padding(piece);
    }

    /// Adds `piece`, `[lines, width of the output]`, to what it was gathered from.
    #[inline(always)]
    pub(super) fn scatter<T: Real>(&self, piece: &mut [T], lines: Range<usize>, plane: &mut [T]) {
        let Lines { above, below, from } = self.lines(lines);
        let piece = &mut piece[above..below];
        if piece.is_empty() {
            return;
        }
        let Self { height, width, outputs, .. } = self;
        if self.is_shift() {
            // A sum that begins with 0 is never -0, so adding 0 changes no bit.
            self.clear_padding(piece);
            let len = piece.len() - width.output + outputs.len();
            add(&mut plane[from..][..len], &piece[outputs.start..]);
            return;
        }
        let sources = plane[from..].chunks_mut(height.stride.saturating_mul(width.input));
        for (line, source) in piece.chunks_exact(width.output).zip(sources) {
            let line = &line[outputs.clone()];
            match width.stride {
                1 => add(&mut source[..line.len()], line),
                by => source.iter_mut().step_by(by).zip(line).for_each(|(to, &x)| *to += x),
            }
        }
    }

    /// Whether the elements of a piece lie as those of the plane, but for where they begin.
    fn is_shift(&self) -> bool {
        let Self { height, width, .. } = self;
        height.stride == 1 && width.stride == 1 && width.input == width.output
    }

    /// Sets what the lines of a piece have of the padding beside the plane to 0.
    #[inline(always)]
    fn clear_padding<T: Real>(&self, piece: &mut [T]) {
        let Self { width, outputs, .. } = self;
        for column in (0..outputs.start).chain(outputs.end..width.output) {
            piece[column..].iter_mut().step_by(width.output).for_each(|to| *to = T::zero());
        }
    }

    #[inline(always)]
    fn lines(&self, lines: Range<usize>) -> Lines {
        let Self { height, width, rows, first, .. } = self;
        let above = rows.start.clamp(lines.start, lines.end);
        let below = rows.end.clamp(above, lines.end);
        let from = first + above.saturating_sub(rows.start) * height.stride * width.input;
        let offset = |line: usize| (line - lines.start) * width.output;
        Lines { above: offset(above), below: offset(below), from }
    }
}

#[inline(always)]
pub(super) fn add<T: Real>(to: &mut [T], values: &[T]) {
    to.iter_mut().zip(values).for_each(|(to, &value)| *to += value);
}
