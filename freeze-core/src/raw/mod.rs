//! The one module with `unsafe`: calls of code that takes raw pointers, each behind a comparison of all
//! lengths, and work lent to other threads.

#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod lend;
mod product;

pub(crate) use lend::{hand_over, share};
pub(crate) use product::Matrix;
