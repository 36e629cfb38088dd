//! Work in fixed blocks: in parallel if there is enough of it, with the same result on any number
//! of threads.

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
