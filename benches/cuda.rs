//! Training steps and optimizers on a CUDA card, beside candle's own layers and, where PEER_PYTHON names a Python that
//! has it, beside PyTorch: `cargo bench --features cudnn --bench cuda`.
//!
//! The contestants take turns; times are medians, and ratios those of a turn. The parts of a step are measured in turns
//! of their own, in which the host waits for the card after each; whole steps follow each other without that.

#[cfg(feature = "cuda")]
#[path = "cuda/mod.rs"]
mod cuda;

#[cfg(feature = "cuda")]
fn main() -> candle_core::Result<()> {
    cuda::run()
}

#[cfg(not(feature = "cuda"))]
fn main() {
    println!("skipped: built without the feature `cuda`");
}
