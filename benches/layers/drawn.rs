//! What models and batches of a benchmark begin with.

use candle_core::{DType, Device::Cpu, Result, Shape, Tensor, Var};
use candle_nn::VarBuilder;
use freeze_core::init::Seeded;

/// A builder of variables: each model of one contest begins with the same.
pub(crate) fn seeded(stage: usize) -> VarBuilder<'static> {
    Seeded::builder(stage as u64, DType::F32, &Cpu)
}

/// So many of `classes` classes as `shape` has places, drawn at random.
pub(crate) fn classes(shape: impl Into<Shape>, classes: usize) -> Result<Tensor> {
    let drawn = Var::rand(0f32, classes as f32, shape, &Cpu)?;
    drawn.as_detached_tensor().to_dtype(DType::U32)?.clamp(0u32, classes as u32 - 1)
}
