//! Softmax over the last dimension.

use candle_core::{D, DType, Device, Tensor};
use freeze_core::nn::ops::softmax_last_dim;
use proptest::prelude::*;

use super::*;

fn reference(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::softmax(&x.to_dtype(DType::F64)?, D::Minus1)
}

#[test]
fn gradients_match_finite_differences() {
    for shape in [&[1usize][..], &[5], &[3, 4], &[2, 2, 19]] {
        let x = var(1, shape, DType::F64);
        assert_matches_differences(&[&x], || softmax_last_dim(&x));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn gradients_match_candles(
        rows in 1usize..30,
        size in 1usize..80,
        spread in 0.1f64..40.0,
        seed in any::<u64>(),
    ) {
        let cases = [(DType::F64, 1e-12), (DType::F32, 1e-5), (DType::F16, 2e-3), (DType::BF16, 1e-2)];
        for (dtype, tolerance) in cases {
            let x = (var(seed, &[rows, size], DType::F64).as_detached_tensor() * spread).unwrap();
            let x = Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap();
            assert_matches_reference(&[&x], tolerance, || softmax_last_dim(&x), || reference(&x));
        }
    }
}

#[test]
fn large_and_strided_inputs_match() {
    let x = var(2, &[64, 20, 30], DType::F32);
    assert_matches_reference(
        &[&x],
        1e-5,
        || softmax_last_dim(&x.transpose(1, 2)?),
        || reference(&x.transpose(1, 2)?),
    );
}

#[test]
fn extreme_values() {
    let inf = f32::INFINITY;
    let rows: [([f32; 3], [f32; 3]); 3] = [
        ([1000.0, 1000.0, -1000.0], [0.5, 0.5, 0.0]),
        ([-inf, 0.0, -inf], [0.0, 1.0, 0.0]),
        ([-3e38, 3e38, 0.0], [0.0, 1.0, 0.0]),
    ];
    for (x, expected) in rows {
        let y = softmax_last_dim(&Tensor::new(&x, &Device::Cpu).unwrap()).unwrap();
        assert_eq!(y.to_vec1::<f32>().unwrap(), expected);
    }
    for x in [[-inf; 3], [0.0, f32::NAN, 1.0], [0.0, 1.0, f32::NAN]] {
        let y = softmax_last_dim(&Tensor::new(&x, &Device::Cpu).unwrap()).unwrap();
        assert!(y.to_vec1::<f32>().unwrap().iter().all(|y| y.is_nan()), "{x:?}");
    }
}

#[test]
fn nothing_is_recorded_for_untracked_inputs() {
    let x = var(3, &[2, 3], DType::F32);
    // The variable, the operation and its result.
    assert_eq!(softmax_last_dim(&x).unwrap().sorted_nodes().len(), 3);
    assert!(!softmax_last_dim(&x.as_detached_tensor()).unwrap().track_op());
    assert!(softmax_last_dim(&Tensor::new(1f32, &Device::Cpu).unwrap()).is_err());
}
