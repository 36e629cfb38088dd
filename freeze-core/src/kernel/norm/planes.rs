//! Kernels over `[batch, channels, len]`: each plane of `len` contiguous elements belongs to one
//! channel and is normalised by the statistics of one set of planes. Batch norm and group norm
//! differ only in the sets.

use candle_core::WithDType;

use super::{Center, not_negative};
use crate::kernel::{Element, for_blocks, map_rows, passed, rows_per_block, split, sum1, sum2};

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

/// Mean and mean square deviation of every set of planes; about zero if the mean is not removed.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f64>,
    pub(crate) variance: Vec<f64>,
}

/// Computes both moments of each plane while it is in the cache, and combines them in f64 (the
/// parallel form of Chan, Golub and LeVeque, 1983).
pub(crate) fn moments<T: Element>(x: &[T], planes: Planes, center: Center) -> Moments {
    let len = planes.len as f64;
    let each = per_plane(
        x,
        x,
        planes,
        #[inline(always)]
        |_, x, _| {
            let mean = T::Real::from_f64(sum1(x, |x| [x])[0] / len);
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

/// Two numbers for every plane, from its elements of `x` and `y`.
pub(crate) fn per_plane<T: Element>(
    x: &[T],
    y: &[T],
    planes: Planes,
    work: impl Fn(usize, &[T], &[T]) -> [f64; 2] + Sync + Send,
) -> Vec<[f64; 2]> {
    let (len, block) = (planes.len, planes.block());
    let blocks = split::<T>(None, block, x.len());
    let found = for_blocks(
        blocks,
        x.len(),
        #[inline(always)]
        |index, _| {
            let range = index * block..x.len().min((index + 1) * block);
            let pairs = x[range.clone()].chunks_exact(len).zip(y[range].chunks_exact(len));
            let first = index * block / len;
            let mut found = Vec::with_capacity(pairs.len());
            for (i, (x, y)) in pairs.enumerate() {
                found.push(work(first + i, x, y));
            }
            found
        },
    );
    found.concat()
}

/// `then((x - center) * scale + offset, y)`, with one triple per plane.
pub(crate) fn scale<T: Element>(
    [x, y]: [&[T]; 2],
    planes: Planes,
    terms: impl Fn(usize) -> [f64; 3] + Sync + Send,
    then: impl Fn(T::Real, T::Real) -> T::Real + Sync + Send,
) -> Vec<T> {
    let len = planes.len;
    map_rows(
        x.len(),
        len,
        || (),
        #[inline(always)]
        |(), plane, out| {
            let [center, scale, offset] = terms(plane).map(T::Real::from_f64);
            let each = x[plane * len..].iter().zip(&y[plane * len..]);
            for (out, (x, y)) in out.iter_mut().zip(each) {
                *out = T::down(then((x.up() - center) * scale + offset, y.up()));
            }
        },
    )
}

/// The sums of `g` and `g * (x - center)` of every plane, `g` being what `gate` makes of what [`scale`] made
/// and of the gradient.
pub(crate) fn gradient_sums<T: Element>(
    x: &[T],
    grad: &[T],
    planes: Planes,
    terms: impl Fn(usize) -> [f64; 3] + Sync + Send,
    gate: impl Fn(T::Real, T::Real) -> T::Real + Sync + Send,
) -> Vec<[f64; 2]> {
    per_plane(
        x,
        grad,
        planes,
        #[inline(always)]
        |plane, x, grad| {
            let [center, scale, offset] = terms(plane).map(T::Real::from_f64);
            sum2(x, grad, |x, g| {
                let g = gate((x - center) * scale + offset, g);
                [g, g * (x - center)]
            })
        },
    )
}

/// `(x - center) * slope + g * factor + rest`, `g` as for [`gradient_sums`]; with the triple of [`scale`] and
/// three numbers more per plane.
pub(crate) fn combine<T: Element>(
    x: &[T],
    grad: &[T],
    planes: Planes,
    terms: impl Fn(usize) -> [f64; 6] + Sync + Send,
    gate: impl Fn(T::Real, T::Real) -> T::Real + Sync + Send,
) -> Vec<T> {
    let len = planes.len;
    map_rows(
        x.len(),
        len,
        || (),
        #[inline(always)]
        |(), plane, out| {
            let [center, scale, offset, slope, factor, rest] = terms(plane).map(T::Real::from_f64);
            let each = x[plane * len..].iter().zip(&grad[plane * len..]);
            for (out, (x, g)) in out.iter_mut().zip(each) {
                let x = x.up() - center;
                *out = T::down(x * slope + gate(x * scale + offset, g.up()) * factor + rest);
            }
        },
    )
}

/// The gradient of a rectified sum of what [`scale`] makes and of `y`.
pub(crate) fn passed_sum<T: Element>(
    [x, y, grad]: [&[T]; 3],
    planes: Planes,
    terms: impl Fn(usize) -> [f64; 3] + Sync + Send,
) -> Vec<T> {
    let len = planes.len;
    map_rows(
        x.len(),
        len,
        || (),
        #[inline(always)]
        |(), plane, out| {
            let [center, scale, offset] = terms(plane).map(T::Real::from_f64);
            let [x, y, grad] = [x, y, grad].map(|all| &all[plane * len..][..len]);
            for (out, ((x, y), g)) in out.iter_mut().zip(x.iter().zip(y).zip(grad)) {
                let sum = (x.up() - center) * scale + offset + y.up();
                *out = T::down(passed(sum, g.up()));
            }
        },
    )
}
