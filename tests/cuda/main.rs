//! What runs on a CUDA card, against the CPU: `cargo test --features cuda --test cuda`. Without a
//! card, or without the feature, every test says that it is skipped.

#[allow(dead_code, reason = "the tests of `nn` use what these do not")]
#[path = "../nn/support.rs"]
mod support;

mod accumulated;
mod ahead;
mod attention;
mod battery;
mod cache;
mod cache_laws;
#[cfg(feature = "nccl")]
mod cards;
mod convolutions;
mod elements;
mod inputs;
mod layers;
mod limits;
mod models;
mod non_finite;
mod norms;
mod optim;
mod planes;
mod plans;
mod policies;
mod records;
mod room;
mod rows;
mod runs;
mod statistics;
#[cfg(feature = "cuda")]
mod steady;
mod together;

use candle_core::Device;

/// The first card; says that the test is skipped where there is none.
fn card() -> Option<Device> {
    Device::new_cuda(0).inspect_err(|error| eprintln!("skipped: no CUDA card: {error}")).ok()
}
