//! More than one process: what the ranks of a run do together.
//!
//! [`Training::parallel`](crate::Training::parallel) shares a run between ranks: processes, or [`Threads`] for tests, and `Nccl` beside
//! either for CUDA cards that hand each other their gradients.
//! Each computes its share of every batch, and all make the same update. Only gradients of what trains are sent, so
//! freezing half of the parameters halves the bytes ([`Traffic`]).
//!
//! | setting of [`Parallel`] | does |
//! |---|---|
//! | [`bf16`](Parallel::bf16) | halves the bytes of gradients |
//! | [`within_backward`](Parallel::within_backward) | sends gradients in buckets while the backward goes on |
//! | [`shard_optimizer_state`](Parallel::shard_optimizer_state) | each rank keeps the optimizer state of a share of the variables |
//!
//! A [`Group`] lets the ranks agree on each call before it is made: a rank that fails, leaves, panics, or differs in model,
//! plan, settings or place is an error on every rank that names the first such rank. A rank that is late is waited
//! for. Batch norms over the batch of all ranks: [`BatchNorm::across`](crate::nn::BatchNorm::across).
//!
//! Sums are taken in an order that depends only on the number of ranks and of elements, so a run with the same number of
//! ranks repeats bit for bit. With another number it is the same run but for rounding.

mod collective;
mod group;
mod meeting;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
mod notice;
mod settings;
mod threads;
mod traffic;
mod words;

pub use collective::{Collective, Numbers};
pub use group::Group;
pub(crate) use meeting::Call;
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
#[cfg(feature = "nccl")]
pub use nccl::Nccl;
pub use settings::Parallel;
pub use threads::Threads;
pub use traffic::Traffic;
pub(crate) use words::{Words, fingerprint, fingerprint_of};
