//! Attention on a card, in pieces: products by cuBLAS, and all between them as one kernel, in place. The scores of one
//! piece exist at a time; the backward computes them again. Heads are read and written where they lie.

mod aligned;
mod backward;
mod forward;
mod run;

pub(super) use aligned::attend;
pub(super) use backward::gradients;
pub(super) use forward::forward;
