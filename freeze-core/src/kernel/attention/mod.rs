//! Attention in blocks of queries and keys with a running softmax (FlashAttention: Dao et al.,
//! 2022, arXiv:2205.14135): a thread has one block of scores at a time, so that memory is linear in
//! the sequence length, not quadratic.

mod backward;
mod forward;
mod heads;
#[cfg(any(feature = "cuda", test))]
mod pieces;
mod scores;

pub(crate) use backward::{Forward, backward};
pub(crate) use forward::forward;
pub(crate) use heads::{Heads, Order};
#[cfg(feature = "cuda")]
pub(crate) use pieces::Piece;
pub(crate) use scores::{Bias, Call, Sight, Sizes};

use super::threads;

/// The queries and the keys of a block.
const QUERIES: usize = 64;
const KEYS: usize = 256;

/// With fewer multiplications than this, waking other threads costs more than it saves.
const FROM: usize = 1 << 18;

/// The statistics that turn a row of scores into probabilities: `exp(score - max) / sum`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowStats {
    /// The largest score; 0 if there is none.
    max: f64,
    /// 1 over the sum; 0 if there is no score.
    scale: f64,
}

/// Runs `work` on every piece of a call, with buffers for each thread.
fn each_with<I: Send, S>(
    sizes: &Sizes,
    pieces: Vec<I>,
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, I) + Sync,
) {
    threads::each_with(sizes.multiplications() >= FROM, pieces.into_iter(), start, work);
}
