//! Sums over the ranks.

use std::ops::AddAssign;

use mpi::traits::Equivalence;

use super::calls::Calls;

/// Sums that are under way at a time, in a first-level cache.
const BLOCK: usize = 1 << 10;

/// Replaces each number by its sum over the ranks. Each rank gets its share of the numbers from all others, adds them
/// up by rank, and hands the rounded sums to all: as many bytes as a ring would send, and an order that no library
/// chooses.
pub(super) fn add_up<T, S>(
    calls: &Calls<'_>,
    numbers: &mut [T],
    wide: impl Fn(T) -> S + Copy,
    round: impl Fn(S) -> T + Copy,
) where
    T: Equivalence + Copy + Default,
    S: Copy + Default + AddAssign,
{
    let whole = numbers.len() - numbers.len() % calls.size;
    let (whole, rest) = numbers.split_at_mut(whole);
    let mut brought = vec![T::default(); calls.piece.min(whole.len().max(calls.size))];
    for piece in whole.chunks_mut(calls.piece) {
        in_shares(calls, piece, &mut brought, wide, round);
    }
    // Too few for a share for each rank.
    if !rest.is_empty() {
        let mut filled = vec![T::default(); calls.size];
        filled[..rest.len()].copy_from_slice(rest);
        in_shares(calls, &mut filled, &mut brought, wide, round);
        rest.copy_from_slice(&filled[..rest.len()]);
    }
}

/// Of as many numbers as there are ranks, or a multiple of that.
fn in_shares<T, S>(
    calls: &Calls<'_>,
    numbers: &mut [T],
    brought: &mut [T],
    wide: impl Fn(T) -> S,
    round: impl Fn(S) -> T,
) where
    T: Equivalence + Copy,
    S: Copy + Default + AddAssign,
{
    let brought = &mut brought[..numbers.len()];
    calls.all_to_all(numbers, brought);
    let (first, others) = brought.split_at_mut(numbers.len() / calls.size);
    let share = first.len();
    let mut sums = [S::default(); BLOCK];
    for (index, block) in first.chunks_mut(BLOCK).enumerate() {
        let sums = &mut sums[..block.len()];
        sums.iter_mut().zip(&*block).for_each(|(sum, &number)| *sum = wide(number));
        for theirs in others.chunks_exact(share) {
            let theirs = &theirs[index * BLOCK..][..sums.len()];
            sums.iter_mut().zip(theirs).for_each(|(sum, &number)| *sum += wide(number));
        }
        block.iter_mut().zip(sums).for_each(|(number, sum)| *number = round(*sum));
    }
    calls.all_gather(first, numbers);
}
