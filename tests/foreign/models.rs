//! Models here compute what those of candle-transformers do, from the same file.

mod bert;
mod dinov2;
mod distilbert;
mod finetuned;
mod llama;
mod resnet;
mod vit;

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};

/// Both builders read the same tensors, made on first use.
fn builders() -> [VarBuilder<'static>; 2] {
    let map = VarMap::new();
    let builder = || VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    [builder(), builder()]
}

/// Equal shapes, and elements within 1e-5 of each other, in units of the largest element or of 1.
#[track_caller]
fn assert_equal(found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims());
    let numbers = |tensor: &Tensor| -> Vec<f32> {
        tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers")
    };
    let (found, expected) = (numbers(found), numbers(expected));
    let scale = expected.iter().fold(1f32, |scale, value| scale.max(value.abs()));
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= 1e-5 * scale, "found {found}, expected {expected}");
    }
}
