//! Rotary position embedding over slices: rows whose two halves are the coordinates of points in a plane.

use candle_core::WithDType;

use super::{Element, copy_rows, wide};

/// Where the rows of a result are found in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// At their own place, `[.., length]` in both.
    Kept,
    /// `[.., length, heads]` becomes `[.., heads, length]`.
    Split(usize),
    /// `[.., heads, length]` becomes `[.., length, heads]`.
    Merged(usize),
}

/// Which way points are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Forward,
    Back,
}

impl Order {
    /// The row of the input, and the position, that belong to a row of the result.
    #[inline(always)]
    fn place(self, row: usize, length: usize) -> (usize, usize) {
        let found = |first: usize, second: usize| {
            let (sample, row) = (row / (first * second), row % (first * second));
            (sample, row / second, row % second)
        };
        match self {
            Self::Kept => (row, row % length),
            Self::Split(heads) => {
                let (sample, head, position) = found(heads, length);
                ((sample * length + position) * heads + head, position)
            }
            Self::Merged(heads) => {
                let (sample, position, head) = found(length, heads);
                ((sample * heads + head) * length + position, position)
            }
        }
    }

    /// The order that undoes this one.
    pub(crate) fn back(self) -> Self {
        match self {
            Self::Kept => Self::Kept,
            Self::Split(heads) => Self::Merged(heads),
            Self::Merged(heads) => Self::Split(heads),
        }
    }
}

/// Each row of `x` with its points turned by the angles of its position, whose cosines and sines are
/// the rows of `[length, half]`. Nothing is empty.
pub(crate) fn rotate<T: Element>(
    x: &[T],
    [cos, sin]: [&[T::Real]; 2],
    [length, half]: [usize; 2],
    order: Order,
    turn: Turn,
) -> Vec<T> {
    let sign = T::Real::from_f64(if turn == Turn::Forward { 1.0 } else { -1.0 });
    copy_rows(x.len(), 2 * half, &|row, out| {
        let (from, position) = order.place(row, length);
        let (x1, x2) = x[from * 2 * half..][..2 * half].split_at(half);
        let (y1, y2) = out.split_at_mut(half);
        let [cos, sin] = [cos, sin].map(|table| &table[position * half..][..half]);
        wide(
            #[inline(always)]
            || {
                let points = x1.iter().zip(x2).zip(cos.iter().zip(sin));
                for ((y1, y2), ((x1, x2), (&cos, &sin))) in y1.iter_mut().zip(y2).zip(points) {
                    let (x1, x2, sin) = (x1.up(), x2.up(), sin * sign);
                    *y1 = T::down(x1 * cos - x2 * sin);
                    *y2 = T::down(x1 * sin + x2 * cos);
                }
            },
        );
    })
}
