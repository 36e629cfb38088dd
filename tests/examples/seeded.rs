//! The seeded backend: weights depend on seed and name alone, and follow the distribution asked for.

use candle_core::{DType, Device};
use candle_nn::init::{FanInOut, Init, NonLinearity, NormalOrUniform};
use candle_nn::{VarBuilder, linear};

use crate::common::seeded::Seeded;

fn builder(seed: u64) -> VarBuilder<'static> {
    Seeded::builder(seed, DType::F32, &Device::Cpu)
}

fn draw(vb: &VarBuilder<'_>, name: &str, init: Init) -> Vec<f32> {
    let tensor = vb.get_with_hints((40, 20, 5, 5), name, init).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

const NORMAL: Init = Init::Randn { mean: 3.0, stdev: 0.5 };

#[test]
fn weights_depend_on_seed_and_name_alone() {
    let (first, second) = (builder(1), builder(1));
    let a = draw(&first, "a", NORMAL);
    let b = draw(&first, "b", NORMAL);
    // The other order, below a prefix, and in f64 rounded.
    assert_eq!(b, draw(&second, "b", NORMAL));
    assert_eq!(a, draw(&second, "a", NORMAL));
    assert_eq!(draw(&builder(1).pp("x"), "a", NORMAL), draw(&builder(1), "x.a", NORMAL));
    let double = Seeded::builder(1, DType::F64, &Device::Cpu);
    let double = double.get_with_hints((40, 20, 5, 5), "a", NORMAL).unwrap();
    assert_eq!(double.dtype(), DType::F64);
    let rounded = double.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
    assert_eq!(a, rounded.to_vec1::<f32>().unwrap());

    assert_ne!(a, b);
    assert_ne!(a, draw(&builder(2), "a", NORMAL));
}

#[test]
fn draws_follow_the_distribution() {
    let kaiming = |dist, fan, non_linearity| Init::Kaiming { dist, fan, non_linearity };
    // Fan-in is 20 * 25 = 500, fan-out 40 * 25 = 1000; ReLU's gain is the root of 2.
    let rows: [(&str, Init, f64, f64, f64); 7] = [
        ("constant", Init::Const(0.25), 0.25, 0.0, 0.25),
        ("normal", NORMAL, 3.0, 0.5, f64::INFINITY),
        ("uniform", Init::Uniform { lo: -1.0, up: 3.0 }, 1.0, 4.0 / 12f64.sqrt(), 3.0),
        (
            "kaiming normal",
            kaiming(NormalOrUniform::Normal, FanInOut::FanIn, NonLinearity::ReLU),
            0.0,
            (2.0 / 500f64).sqrt(),
            f64::INFINITY,
        ),
        (
            "kaiming uniform",
            kaiming(NormalOrUniform::Uniform, FanInOut::FanIn, NonLinearity::ReLU),
            0.0,
            (2.0 / 500f64).sqrt(),
            (6.0 / 500f64).sqrt(),
        ),
        (
            "fan out",
            kaiming(NormalOrUniform::Uniform, FanInOut::FanOut, NonLinearity::Linear),
            0.0,
            (1.0 / 1000f64).sqrt(),
            (3.0 / 1000f64).sqrt(),
        ),
        (
            "tanh",
            kaiming(NormalOrUniform::Normal, FanInOut::FanOut, NonLinearity::Tanh),
            0.0,
            5.0 / 3.0 / 1000f64.sqrt(),
            f64::INFINITY,
        ),
    ];
    for (name, init, mean, stdev, largest) in rows {
        let values: Vec<f64> = draw(&builder(7), name, init).into_iter().map(f64::from).collect();
        let count = values.len() as f64;
        let found_mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|v| (v - found_mean).powi(2)).sum::<f64>() / count;
        // 20000 draws: the standard error of the mean is stdev / 141.
        assert!((found_mean - mean).abs() <= 0.03 * stdev, "{name}: mean {found_mean}");
        assert!((variance.sqrt() - stdev).abs() <= 0.03 * stdev, "{name}: {}", variance.sqrt());
        let extreme = values.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        assert!(extreme <= largest * (1.0 + 1e-6), "{name}: largest {extreme}");
    }
}

#[test]
fn what_it_hands_out_are_variables_and_a_name_is_one_variable() {
    let vb = builder(1);
    let first = linear(3, 2, vb.pp("head")).unwrap();
    let again = linear(3, 2, vb.pp("head")).unwrap();
    assert!(first.weight().is_variable());
    assert_eq!(first.weight().id(), again.weight().id());

    let fault = linear(4, 2, vb.pp("head")).unwrap_err().to_string();
    assert!(fault.contains("head.weight"), "{fault}");
    assert!(vb.get_unchecked("head.weight").is_ok());
    assert!(vb.get_unchecked("tail.weight").is_err());
}
