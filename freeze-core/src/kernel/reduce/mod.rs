//! Reductions of gradients before an update: whether they are finite, and their norm.

mod by_tensors;
#[cfg(feature = "cuda")]
mod cuda;
mod finite;
mod norm;
mod squares;

pub(crate) use finite::all_finite;
pub(crate) use norm::{Norm, norm};

#[cfg(test)]
mod tests;
