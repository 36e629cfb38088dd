//! What the tests of image models share.

use candle_core::{DType, Device::Cpu, Tensor};
use candle_nn::VarBuilder;
use freeze_core::init::Seeded;
use freeze_core::models::ImageContext;

pub(crate) const EVAL: ImageContext = ImageContext { train: false };
pub(crate) const TRAIN: ImageContext = ImageContext { train: true };

pub(crate) fn seeded() -> VarBuilder<'static> {
    Seeded::builder(5, DType::F32, &Cpu)
}

/// Noise from -1 to 1, the same each time.
pub(crate) fn images(shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>();
    let noise = (0..count).map(|i| (i * i * 31 + i * 7) % 1009).map(|i| i as f32 / 504. - 1.);
    Tensor::from_vec(noise.collect(), shape, &Cpu).expect("images")
}
