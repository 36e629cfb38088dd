//! Kernels over `[batch, channels, len]`: each plane of `len` contiguous elements belongs to one
//! channel and is normalised by the statistics of one set of planes. Batch norm and group norm
//! differ only in the sets.

use super::{Center, not_negative};
use crate::kernel::{
    Element, Numbers, NumbersMut, Real, for_blocks, map_rows, passed, rows_per_block, sum1, sum2,
    wide,
};

/// The planes, and which of them share statistics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planes {
    pub(crate) channels: usize,
    pub(crate) len: usize,
    pub(crate) over: Over,
}

/// The sets that statistics are taken over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Over {
    /// All planes of a channel.
    Batch,
    /// This many neighbouring channels of one sample.
    Group(usize),
}

impl Planes {
    pub(crate) fn channel(&self, plane: usize) -> usize {
        plane % self.channels
    }

    /// The index of the statistics of a plane.
    pub(crate) fn set(&self, plane: usize) -> usize {
        match self.over {
            Over::Batch => plane % self.channels,
            Over::Group(size) => plane / size,
        }
    }

    /// The number of sets among `planes` planes.
    pub(crate) fn sets(&self, planes: usize) -> usize {
        match self.over {
            Over::Batch => self.channels,
            Over::Group(size) => planes / size,
        }
    }

    fn block(&self) -> usize {
        rows_per_block(self.len, 1) * self.len
    }
}

/// Some numbers for each plane.
pub(super) type Terms<'a, const N: usize> = dyn Fn(usize) -> [f64; N] + Sync + 'a;

/// Mean and mean square deviation of every set of planes; about zero if the mean is not removed.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f64>,
    pub(crate) variance: Vec<f64>,
}

/// Computes both moments of each plane while it is in the cache, and combines them in f64 (the
/// parallel form of Chan, Golub and LeVeque, 1983).
pub(crate) fn moments<T: Element>(x: &[T], planes: Planes, center: Center) -> Moments {
    moments_of(T::numbers(x), planes, center)
}

fn moments_of<R: Real>(x: Numbers<'_, R>, planes: Planes, center: Center) -> Moments {
    let len = planes.len as f64;
    let each = per_plane(
        [x],
        planes,
        #[inline(always)]
        |_, [x]| {
            let mean = R::from_f64(sum1(x, |x| [x])[0] / len);
            let [rest, square] = sum1(x, |x| {
                let d = x - mean;
                [d, d * d]
            });
            [mean.to_f64() + rest / len, not_negative(square - rest * rest / len)]
        },
    );
    let sets = planes.sets(each.len());
    let count = (each.len() / sets.max(1)) as f64;
    let mut mean = vec![0.0; sets];
    if center == Center::Mean {
        for (plane, [plane_mean, _]) in each.iter().enumerate() {
            mean[planes.set(plane)] += plane_mean / count;
        }
    }
    let mut variance = vec![0.0; sets];
    for (plane, [plane_mean, square]) in each.iter().enumerate() {
        let set = planes.set(plane);
        let between = plane_mean - mean[set];
        variance[set] += (square / len + between * between) / count;
    }
    Moments { mean, variance }
}

/// Two numbers for every plane, from its elements of the operands.
fn per_plane<R: Real, const N: usize>(
    operands: [Numbers<'_, R>; N],
    planes: Planes,
    work: impl Fn(usize, [&[R]; N]) -> [f64; 2] + Sync,
) -> Vec<[f64; 2]> {
    let (len, block) = (planes.len, planes.block());
    let found = for_blocks(None, operands, block, &|index, _, operands| {
        wide(
            #[inline(always)]
            || {
                let count = operands[0].len() / len;
                let mut found = Vec::with_capacity(count);
                for i in 0..count {
                    let operands = operands.map(|all| &all[i * len..][..len]);
                    found.push(work(index * block / len + i, operands));
                }
                found
            },
        )
    });
    found.concat()
}

/// `then((x - center) * scale + offset, y)` of the first and the last operand, with one triple per plane.
pub(super) fn scale<R: Real, const N: usize>(
    out: NumbersMut<'_, R>,
    operands: [Numbers<'_, R>; N],
    planes: Planes,
    terms: &Terms<'_, 3>,
    then: impl Fn(R, R) -> R + Sync,
) {
    map_rows(
        out,
        operands,
        planes.len,
        || (),
        #[inline(always)]
        |(), plane, out, operands| {
            let [center, scale, offset] = terms(plane).map(R::from_f64);
            let each = operands[0].iter().zip(operands[N - 1]);
            for (out, (&x, &y)) in out.iter_mut().zip(each) {
                *out = then((x - center) * scale + offset, y);
            }
        },
    );
}

/// The sums of `g` and `g * (x - center)` of every plane, `g` being what `gate` makes of what [`scale`] made
/// and of the gradient.
pub(super) fn gradient_sums<R: Real>(
    x_and_grad: [Numbers<'_, R>; 2],
    planes: Planes,
    terms: &Terms<'_, 3>,
    gate: impl Fn(R, R) -> R + Sync,
) -> Vec<[f64; 2]> {
    per_plane(
        x_and_grad,
        planes,
        #[inline(always)]
        |plane, [x, grad]| {
            let [center, scale, offset] = terms(plane).map(R::from_f64);
            sum2(x, grad, |x, g| {
                let g = gate((x - center) * scale + offset, g);
                [g, g * (x - center)]
            })
        },
    )
}

/// `(x - center) * slope + g * factor + rest`, `g` as for [`gradient_sums`]; with the triple of [`scale`] and
/// three numbers more per plane.
pub(super) fn combine<R: Real>(
    out: NumbersMut<'_, R>,
    x_and_grad: [Numbers<'_, R>; 2],
    planes: Planes,
    terms: &Terms<'_, 6>,
    gate: impl Fn(R, R) -> R + Sync,
) {
    map_rows(
        out,
        x_and_grad,
        planes.len,
        || (),
        #[inline(always)]
        |(), plane, out, [x, grad]| {
            let [center, scale, offset, slope, factor, rest] = terms(plane).map(R::from_f64);
            for (out, (&x, &g)) in out.iter_mut().zip(x.iter().zip(grad)) {
                let x = x - center;
                *out = x * slope + gate(x * scale + offset, g) * factor + rest;
            }
        },
    );
}

/// The gradient of a rectified sum of what [`scale`] makes and of `y`.
pub(super) fn passed_sum<R: Real>(
    out: NumbersMut<'_, R>,
    x_y_and_grad: [Numbers<'_, R>; 3],
    planes: Planes,
    terms: &Terms<'_, 3>,
) {
    map_rows(
        out,
        x_y_and_grad,
        planes.len,
        || (),
        #[inline(always)]
        |(), plane, out, [x, y, grad]| {
            let [center, scale, offset] = terms(plane).map(R::from_f64);
            for (out, ((&x, &y), &g)) in out.iter_mut().zip(x.iter().zip(y).zip(grad)) {
                let sum = (x - center) * scale + offset + y;
                *out = passed(sum, g);
            }
        },
    );
}
