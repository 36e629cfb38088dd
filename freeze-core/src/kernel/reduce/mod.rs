//! Reductions of gradients before an update: whether they are finite, and their norm.

mod by_tensors;
#[cfg(feature = "cuda")]
mod cuda;
mod finite;
mod norm;
mod norms;

pub(crate) use finite::all_finite;
pub(crate) use norm::{Norm, norm};
pub(crate) use norms::{dot, sums, sums_between};

#[cfg(test)]
mod tests;
