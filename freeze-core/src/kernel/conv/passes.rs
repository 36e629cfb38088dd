//! The convolution's kernels on the CPU: parts of the batch in parallel, tiles within a part.

use std::ops::Range;

use super::columns::Tile;
use super::geometry::Geometry;
use super::tap::add;
use crate::kernel::{Matrix, Real, Threads, sum1, threads, wide};

/// The elements of a column matrix: large enough for the matmul, small enough for the cache.
const TILE: usize = 1 << 17;

/// The largest number of parts. It must not depend on the machine: the parts' weight gradients are
/// summed in order, so that equal runs give equal bits.
const PARTS: usize = 16;

/// Fewer parts than these leave threads idle.
const FEW: usize = 4;

/// The elements of all parts' weight gradients together.
const PARTIAL_SUMS: usize = 1 << 24;

/// The result `[batch, channels_out, ..]`.
pub(crate) fn forward<T: Real>(g: &Geometry, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let mut y = vec![T::zero(); g.batch * g.sample_out()];
    let part = part_samples(g, PARTS);
    let on = product_threads(g, part);
    let chunks = y.chunks_mut(chunk(part * g.sample_out()));
    threads::each_with(
        true,
        chunks.zip(x.chunks(chunk(part * g.sample_in()))),
        Buffers::default,
        |buffers, (y, x)| {
            each_tile(g, y.len() / g.sample_out(), |tile| {
                let columns = gathered(&mut buffers.columns, &tile, x);
                let product = room(&mut buffers.tile, g.group_out() * tile.pixels());
                group(g, weight, tile.group).times(columns, product, false, on);
                wide(
                    #[inline(always)]
                    || tile.put(product, bias, y),
                );
            });
        },
    );
    y
}

/// The gradient of the input: each tile's columns are `weightᵀ` times its gradient.
pub(crate) fn input_gradient<T: Real>(g: &Geometry, weight: &[T], grad: &[T]) -> Vec<T> {
    let mut dx = vec![T::zero(); g.batch * g.sample_in()];
    let part = part_samples(g, PARTS);
    let on = product_threads(g, part);
    let chunks = dx.chunks_mut(chunk(part * g.sample_in()));
    threads::each_with(
        true,
        chunks.zip(grad.chunks(chunk(part * g.sample_out()))),
        Buffers::default,
        |buffers, (dx, grad)| {
            each_tile(g, grad.len() / g.sample_out(), |tile| {
                let taken = taken(&mut buffers.tile, &tile, grad);
                let columns = room(&mut buffers.columns, g.taps() * tile.pixels());
                let weight = group(g, weight, tile.group).transposed();
                weight.times(taken, columns, false, on);
                wide(
                    #[inline(always)]
                    || tile.scatter(columns, dx),
                );
            });
        },
    );
    dx
}

/// The gradient of the weight: the sum of each tile's gradient times its columns transposed.
pub(crate) fn weight_gradient<T: Real>(g: &Geometry, x: &[T], grad: &[T]) -> Vec<T> {
    let part = part_samples(g, (PARTIAL_SUMS / g.weights().max(1)).clamp(1, PARTS));
    let on = product_threads(g, part);
    let chunks = x.chunks(chunk(part * g.sample_in()));
    let chunks = chunks.zip(grad.chunks(chunk(part * g.sample_out())));
    let partial: Vec<Vec<T>> = threads::map(chunks, |(x, grad)| {
        let mut buffers = Buffers::default();
        let mut sum = vec![T::zero(); g.weights()];
        each_tile(g, grad.len() / g.sample_out(), |tile| {
            let taken = taken(&mut buffers.tile, &tile, grad);
            let columns = gathered(&mut buffers.columns, &tile, x).transposed();
            let size = g.group_out() * g.taps();
            let sum = &mut sum[tile.group * size..][..size];
            taken.times(columns, sum, true, on);
        });
        sum
    });
    let mut partial = partial.into_iter();
    let mut sum = partial.next().unwrap_or_else(|| vec![T::zero(); g.weights()]);
    partial.for_each(|part| {
        wide(
            #[inline(always)]
            || add(&mut sum, &part),
        );
    });
    sum
}

/// The gradient of the bias: the sum of each output channel.
pub(crate) fn bias_gradient<T: Real>(g: &Geometry, grad: &[T]) -> Vec<T> {
    let mut sums = vec![0.0; g.channels_out];
    for sample in grad.chunks_exact(chunk(g.sample_out())) {
        for (total, plane) in sums.iter_mut().zip(sample.chunks_exact(chunk(g.pixels()))) {
            let [sum] = wide(
                #[inline(always)]
                || sum1(plane, |value| [value]),
            );
            *total += sum;
        }
    }
    sums.into_iter().map(T::from_f64).collect()
}

/// At least 1, because `chunks` panics for 0.
fn chunk(elements: usize) -> usize {
    elements.max(1)
}

/// The number of samples of a part: few enough for many parts, enough to fill a tile.
fn part_samples(g: &Geometry, parts: usize) -> usize {
    let fill = TILE / chunk(g.taps() * g.pixels());
    fill.min(g.batch.div_ceil(4)).max(g.batch.div_ceil(parts)).max(1)
}

/// Products run on all threads if the batch has few parts. This does not depend on the number of
/// threads, so neither do the bits.
fn product_threads(g: &Geometry, part: usize) -> Threads {
    if g.batch.div_ceil(part) < FEW { Threads::All } else { Threads::One }
}

/// Runs `f` over the tiles of a part of `samples` samples.
fn each_tile(g: &Geometry, samples: usize, mut f: impl FnMut(Tile<'_>)) {
    let all = samples * g.height.output;
    let rows = (TILE / chunk(g.taps() * g.width.output)).max(1);
    for start in (0..all).step_by(rows) {
        let rows: Range<usize> = start..all.min(start + rows);
        for group in 0..g.groups {
            f(Tile { geometry: g, group, rows: rows.clone() });
        }
    }
}

/// The weight of a group as a matrix, `[channels of the group, taps]`.
fn group<'w, T: Real>(g: &Geometry, weight: &'w [T], group: usize) -> Matrix<'w, T> {
    let from = group * g.group_out() * g.taps();
    Matrix::new(&weight[from..], g.group_out(), g.taps())
}

/// The buffers of a thread, kept from tile to tile.
struct Buffers<T> {
    columns: Vec<T>,
    /// A tile of the result or of its gradient.
    tile: Vec<T>,
}

impl<T> Default for Buffers<T> {
    fn default() -> Self {
        Self { columns: Vec::new(), tile: Vec::new() }
    }
}

/// The tile's columns of the inputs `x`.
fn gathered<'b, T: Real>(buffer: &'b mut Vec<T>, tile: &Tile<'_>, x: &[T]) -> Matrix<'b, T> {
    let (taps, pixels) = (tile.geometry.taps(), tile.pixels());
    let columns = room(buffer, taps * pixels);
    tile.gather(x, columns);
    Matrix::new(columns, taps, pixels)
}

/// The tile of the gradient.
fn taken<'b, T: Real>(buffer: &'b mut Vec<T>, tile: &Tile<'_>, grad: &[T]) -> Matrix<'b, T> {
    let (channels, pixels) = (tile.geometry.group_out(), tile.pixels());
    let taken = room(buffer, channels * pixels);
    tile.take(grad, taken);
    Matrix::new(taken, channels, pixels)
}

/// The first `len` elements of a buffer, with unspecified contents.
fn room<T: Real>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::zero());
    }
    &mut buffer[..len]
}
