//! Kernels on CUDA: what an update is there, in one launch, and whether gradients are finite.

mod finite;
mod launch;
mod update;

pub(super) use finite::all_finite;
pub(super) use update::update;
