//! Work in fixed blocks: in parallel if there is enough of it, with the same result on any number
//! of threads.

use super::Element;
use super::pieces::ROWS;

/// The number of rows per block, for rows of `len` elements.
pub(crate) fn rows_per_block(len: usize, at_least: usize) -> usize {
    (ROWS.grain / len.max(1)).max(at_least).max(1)
}

/// Splits an output into blocks of `block` elements; `None` into as many empty ones.
pub(crate) fn split<T>(out: Option<&mut [T]>, block: usize, elements: usize) -> Vec<&mut [T]> {
    match out {
        Some(out) => out.chunks_mut(block.max(1)).collect(),
        None => (0..elements.div_ceil(block.max(1))).map(|_| Default::default()).collect(),
    }
}

/// The numbers of as many rows of `len` as have `elements`, written by `write`, which gets something to work
/// in, the number of a row and its place.
#[inline(always)]
pub(crate) fn map_rows<T: Element, S>(
    elements: usize,
    len: usize,
    start: impl Fn() -> S + Sync + Send,
    write: impl Fn(&mut S, usize, &mut [T]) + Sync + Send,
) -> Vec<T> {
    let rows = rows_per_block(len, 1);
    let mut out = vec![T::from_f64(0.0); elements];
    for_blocks(
        split(Some(&mut out), rows * len, elements),
        elements,
        #[inline(always)]
        |index, block| {
            let mut state = start();
            for (row, out) in block.chunks_exact_mut(len).enumerate() {
                write(&mut state, index * rows + row, out);
            }
        },
    );
    out
}

/// Runs `work` on every block, at the machine's width, and returns its results in the order of the blocks.
pub(crate) fn for_blocks<T: Send, R: Send>(
    blocks: Vec<&mut [T]>,
    elements: usize,
    work: impl Fn(usize, &mut [T]) -> R + Sync + Send,
) -> Vec<R> {
    let blocks = blocks.into_iter().enumerate();
    ROWS.map(
        elements,
        blocks,
        #[inline(always)]
        |(index, block)| work(index, block),
    )
}

/// `[.., first, second, size]` as `[.., second, first, size]`.
pub(crate) fn swap_rows<T: Element>(x: &[T], [first, second, size]: [usize; 3]) -> Vec<T> {
    map_rows(
        x.len(),
        size,
        || (),
        #[inline(always)]
        |(), row, out| {
            let (sample, row) = (row / (first * second), row % (first * second));
            let (from_second, from_first) = (row / first, row % first);
            let from = (sample * first + from_first) * second + from_second;
            out.copy_from_slice(&x[from * size..][..size]);
        },
    )
}
