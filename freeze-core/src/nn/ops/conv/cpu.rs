//! The convolution's kernels on the CPU: parts of the batch in parallel, tiles within a part.

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Layout, Result};
use rayon::prelude::*;

use super::columns::Tile;
use super::geometry::Geometry;
use crate::nn::ops::cpu::Real;

/// The elements of a column matrix: large enough for the matmul, small enough for the cache.
const TILE: usize = 1 << 17;

/// At most so many parts. The number must not depend on the machine: the parts' weight gradients are
/// summed in order, so that equal runs give equal bits.
const PARTS: usize = 16;

/// The elements of all parts' weight gradients together.
const PARTIAL_SUMS: usize = 1 << 24;

/// The result `[batch, channels_out, ..]`.
pub(super) fn forward<T: Real>(
    g: &Geometry,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
) -> Result<Vec<T>> {
    let mut y = vec![T::zero(); g.batch * g.sample_out()];
    let (part, weight) = (part_samples(g, PARTS), T::to_cpu_storage(weight));
    let chunks = y.par_chunks_mut(chunk(part * g.sample_out()));
    chunks.zip(x.par_chunks(chunk(part * g.sample_in()))).try_for_each_init(
        Vec::new,
        |columns, (y, x)| {
            each_tile(g, y.len() / g.sample_out(), |tile| {
                let product = with_columns(&tile, x, columns, |columns, columns_l| {
                    let bmnk = (1, g.group_out(), tile.pixels(), g.taps());
                    weight.matmul(columns, bmnk, &weight_layout(g, tile.group), columns_l)
                })?;
                tile.put(product.as_slice()?, bias, y);
                Ok(())
            })
        },
    )?;
    Ok(y)
}

/// The gradient of the input: each tile's columns are `weightᵀ` times its gradient.
pub(super) fn input_gradient<T: Real>(g: &Geometry, weight: &[T], grad: &[T]) -> Result<Vec<T>> {
    let mut dx = vec![T::zero(); g.batch * g.sample_in()];
    let (part, weight) = (part_samples(g, PARTS), T::to_cpu_storage(weight));
    let chunks = dx.par_chunks_mut(chunk(part * g.sample_in()));
    chunks.zip(grad.par_chunks(chunk(part * g.sample_out()))).try_for_each_init(
        Vec::new,
        |taken, (dx, grad)| {
            each_tile(g, grad.len() / g.sample_out(), |tile| {
                let weight_l = weight_layout(g, tile.group).transpose(0, 1)?;
                let columns = with_taken(&tile, grad, taken, |taken, taken_l| {
                    let bmnk = (1, g.taps(), tile.pixels(), g.group_out());
                    weight.matmul(taken, bmnk, &weight_l, taken_l)
                })?;
                tile.scatter(columns.as_slice()?, dx);
                Ok(())
            })
        },
    )?;
    Ok(dx)
}

/// The gradient of the weight: the sum of each tile's gradient times its columns transposed.
pub(super) fn weight_gradient<T: Real>(g: &Geometry, x: &[T], grad: &[T]) -> Result<Vec<T>> {
    let part = part_samples(g, (PARTIAL_SUMS / g.weights().max(1)).clamp(1, PARTS));
    let chunks = x.par_chunks(chunk(part * g.sample_in()));
    let partial: Result<Vec<Vec<T>>> = chunks
        .zip(grad.par_chunks(chunk(part * g.sample_out())))
        .map(|(x, grad)| {
            let (mut columns, mut taken) = (Vec::new(), Vec::new());
            let mut sum = vec![T::zero(); g.weights()];
            each_tile(g, grad.len() / g.sample_out(), |tile| {
                let product = with_taken(&tile, grad, &mut taken, |taken, taken_l| {
                    with_columns(&tile, x, &mut columns, |columns, columns_l| {
                        let bmnk = (1, g.group_out(), g.taps(), tile.pixels());
                        taken.matmul(columns, bmnk, taken_l, &columns_l.transpose(0, 1)?)
                    })
                })?;
                let group = &mut sum[tile.group * g.group_out() * g.taps()..];
                add(group, product.as_slice()?);
                Ok(())
            })?;
            Ok(sum)
        })
        .collect();
    let mut partial = partial?.into_iter();
    let mut sum = partial.next().unwrap_or_else(|| vec![T::zero(); g.weights()]);
    partial.for_each(|part| add(&mut sum, &part));
    Ok(sum)
}

/// The gradient of the bias: the sum of each output channel.
pub(super) fn bias_gradient<T: Real>(g: &Geometry, grad: &[T]) -> Vec<T> {
    let mut sums = vec![T::zero(); g.channels_out];
    for sample in grad.chunks_exact(chunk(g.sample_out())) {
        for (total, plane) in sums.iter_mut().zip(sample.chunks_exact(chunk(g.pixels()))) {
            *total += sum(plane);
        }
    }
    sums
}

/// A sum in eight lanes, which the compiler turns into vector instructions.
fn sum<T: Real>(values: &[T]) -> T {
    let mut lanes = [T::zero(); 8];
    let chunks = values.chunks_exact(8);
    let rest: T = chunks.remainder().iter().copied().sum();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &value)| *lane += value);
    }
    lanes.into_iter().sum::<T>() + rest
}

fn add<T: Real>(sum: &mut [T], values: &[T]) {
    sum.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value);
}

/// Chunks of no elements are an error of `chunks`.
fn chunk(elements: usize) -> usize {
    elements.max(1)
}

/// How many samples a part has: few enough for many parts, enough to fill a tile.
fn part_samples(g: &Geometry, parts: usize) -> usize {
    let fill = TILE / chunk(g.taps() * g.pixels());
    fill.min(g.batch.div_ceil(4)).max(g.batch.div_ceil(parts)).max(1)
}

/// Runs `f` over the tiles of a part of `samples` samples.
fn each_tile(
    g: &Geometry,
    samples: usize,
    mut f: impl FnMut(Tile<'_>) -> Result<()>,
) -> Result<()> {
    let all = samples * g.height.output;
    let rows = (TILE / chunk(g.taps() * g.width.output)).max(1);
    for start in (0..all).step_by(rows) {
        let rows: Range<usize> = start..all.min(start + rows);
        for group in 0..g.groups {
            f(Tile { geometry: g, group, rows: rows.clone() })?;
        }
    }
    Ok(())
}

/// The weight of a group as a matrix, `[channels of the group, taps]`.
fn weight_layout(g: &Geometry, group: usize) -> Layout {
    let shape = (g.group_out(), g.taps());
    Layout::contiguous_with_offset(shape, group * g.group_out() * g.taps())
}

/// Gathers the tile's columns into `buffer` and hands them to `f`.
fn with_columns<T: Real>(
    tile: &Tile<'_>,
    x: &[T],
    buffer: &mut Vec<T>,
    f: impl FnOnce(&CpuStorage, &Layout) -> Result<CpuStorage>,
) -> Result<CpuStorage> {
    lend(buffer, (tile.geometry.taps(), tile.pixels()), |columns| tile.gather(x, columns), f)
}

/// Copies the tile out of the gradient into `buffer` and hands it to `f`.
fn with_taken<T: Real>(
    tile: &Tile<'_>,
    grad: &[T],
    buffer: &mut Vec<T>,
    f: impl FnOnce(&CpuStorage, &Layout) -> Result<CpuStorage>,
) -> Result<CpuStorage> {
    lend(buffer, (tile.geometry.group_out(), tile.pixels()), |taken| tile.take(grad, taken), f)
}

/// Fills `buffer` as a matrix and lends it to `f` as a storage; the memory is kept for the next time.
fn lend<T: Real>(
    buffer: &mut Vec<T>,
    shape: (usize, usize),
    fill: impl FnOnce(&mut [T]),
    f: impl FnOnce(&CpuStorage, &Layout) -> Result<CpuStorage>,
) -> Result<CpuStorage> {
    let mut matrix = std::mem::take(buffer);
    matrix.resize(shape.0 * shape.1, T::zero());
    fill(&mut matrix);
    let matrix = T::to_cpu_storage_owned(matrix);
    let product = f(&matrix, &Layout::contiguous(shape))?;
    *buffer = T::cpu_storage_data(matrix)?;
    Ok(product)
}
