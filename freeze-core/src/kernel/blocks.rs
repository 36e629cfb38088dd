//! Work in fixed blocks: in parallel if there is enough of it, with the same result on any number
//! of threads.

use super::numbers::read_all;
use super::pieces::ROWS;
use super::threads::Results;
use super::{Element, Numbers, NumbersMut, Real, threads, wide};

/// The number of rows per block, for rows of `len` elements.
pub(crate) fn rows_per_block(len: usize, at_least: usize) -> usize {
    (ROWS.grain / len.max(1)).max(at_least).max(1)
}

/// Has `write` overwrite each row of `len` numbers, with something to work in, the row's number and the
/// operands' rows.
pub(crate) fn map_rows<R: Real, S, const N: usize>(
    out: NumbersMut<'_, R>,
    operands: [Numbers<'_, R>; N],
    len: usize,
    start: impl Fn() -> S + Sync,
    write: impl Fn(&mut S, usize, &mut [R], [&[R]; N]) + Sync,
) {
    let rows = rows_per_block(len, 1);
    each_block(Some(out), operands, rows * len, &|index, out, operands| {
        wide(
            #[inline(always)]
            || {
                let mut state = start();
                for (row, out) in out.chunks_exact_mut(len).enumerate() {
                    let operands = operands.map(|all| &all[row * len..][..len]);
                    write(&mut state, index * rows + row, out, operands);
                }
            },
        );
    });
}

/// What is done with a block: its number, its place in the output, and that of each operand.
type Work<'a, R, A, const N: usize> = dyn Fn(usize, &mut [R], [&[R]; N]) -> A + Sync + 'a;

/// Runs `work` on every block of `block` elements, and returns its results in the order of the blocks. Without `out`
/// a block's place there is empty.
pub(crate) fn for_blocks<R: Real, A: Send, const N: usize>(
    out: Option<NumbersMut<'_, R>>,
    operands: [Numbers<'_, R>; N],
    block: usize,
    work: &Work<'_, R, A, N>,
) -> Vec<A> {
    let results = Results::of(operands[0].len().div_ceil(block.max(1)));
    each_block(out, operands, block, &|index, out, operands| {
        results.put(index, work(index, out, operands));
    });
    results.take()
}

fn each_block<R: Real, const N: usize>(
    out: Option<NumbersMut<'_, R>>,
    operands: [Numbers<'_, R>; N],
    block: usize,
    work: &Work<'_, R, (), N>,
) {
    let (block, elements) = (block.max(1), operands[0].len());
    let outs = match out {
        Some(out) => out.chunks(block),
        None => {
            let mut outs = Vec::new();
            outs.resize_with(elements.div_ceil(block), || NumbersMut::Here(&mut []));
            outs
        }
    };
    threads::each_if(elements >= ROWS.from, outs.into_iter().enumerate(), |(index, out)| {
        let mut rooms = [const { Vec::new() }; N];
        let range = |_| index * block..elements.min((index + 1) * block);
        let operands = read_all(operands, range, &mut rooms);
        out.write(|out| work(index, out, operands));
    });
}

/// Has `write` overwrite each row of `len` of so many elements, with the row's number.
pub(crate) fn copy_rows<T: Element>(
    elements: usize,
    len: usize,
    write: &(dyn Fn(usize, &mut [T]) + Sync),
) -> Vec<T> {
    let rows = rows_per_block(len, 1);
    let mut out = vec![T::zero(); elements];
    let block = |(index, block): (usize, &mut [T])| {
        for (row, out) in block.chunks_exact_mut(len).enumerate() {
            write(index * rows + row, out);
        }
    };
    let blocks = out.chunks_mut((rows * len).max(1)).enumerate();
    threads::each_if(elements >= ROWS.from, blocks, block);
    out
}

/// `[.., first, second, size]` as `[.., second, first, size]`.
pub(crate) fn swap_rows<T: Element>(x: &[T], [first, second, size]: [usize; 3]) -> Vec<T> {
    copy_rows(x.len(), size, &|row, out| {
        let (sample, row) = (row / (first * second), row % (first * second));
        let (from_second, from_first) = (row / first, row % first);
        let from = (sample * first + from_first) * second + from_second;
        out.copy_from_slice(&x[from * size..][..size]);
    })
}
