//! The seeded backend: weights depend on seed and name alone, and follow the distribution asked for.

use candle_core::{DType, Device, Tensor};
use candle_nn::init::{FanInOut, Init, NonLinearity, NormalOrUniform};
use candle_nn::{VarBuilder, linear};

use freeze_core::init::Seeded;

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
    // The other order and below a prefix.
    assert_eq!(b, draw(&second, "b", NORMAL));
    assert_eq!(a, draw(&second, "a", NORMAL));
    assert_eq!(draw(&builder(1).pp("x"), "a", NORMAL), draw(&builder(1), "x.a", NORMAL));

    assert_ne!(a, b);
    assert_ne!(a, draw(&builder(2), "a", NORMAL));
}

#[test]
fn every_type_has_the_same_weights_rounded() {
    let of = |dtype| {
        let vb = Seeded::builder(1, dtype, &Device::Cpu);
        vb.get_with_hints((40, 20), "a", NORMAL).unwrap()
    };
    let double = of(DType::F64);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let (found, expected) = (of(dtype), double.to_dtype(dtype).unwrap());
        assert_eq!(found.dtype(), dtype);
        let wide = |t: Tensor| t.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(wide(found), wide(expected), "{dtype:?}");
    }
}

/// Fixed once: another version, machine or dependency must not change them.
#[test]
fn the_numbers_are_these() {
    let rows: [(&str, Init, [u64; 3]); 2] = [
        (
            "body.weight",
            Init::Randn { mean: 0.0, stdev: 1.0 },
            [4608312615582202896, 4606987280117174504, 13830053198934394423],
        ),
        (
            "head.bias",
            Init::Uniform { lo: -1.0, up: 1.0 },
            [13828646087240705254, 4604809354333902476, 13828053037109745586],
        ),
    ];
    for (name, init, expected) in rows {
        let vb = Seeded::builder(42, DType::F64, &Device::Cpu);
        let found = vb.get_with_hints(3, name, init).unwrap().to_vec1::<f64>().unwrap();
        let bits: Vec<u64> = found.iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, expected, "{name}: {found:?}");
    }
}

#[test]
fn odd_numbers_are_refused_or_work() {
    let kaiming = |gain| Init::Kaiming {
        dist: NormalOrUniform::Normal,
        fan: FanInOut::FanIn,
        non_linearity: NonLinearity::ExplicitGain(gain),
    };
    let normal = |mean, stdev| Init::Randn { mean, stdev };
    let uniform = |lo, up| Init::Uniform { lo, up };
    let rows: [(&str, Init, Option<&str>); 15] = [
        ("none spread", normal(1.0, 0.0), None),
        ("tiny", normal(0.0, 1e-300), None),
        ("huge", normal(0.0, 1e300), None),
        ("negative", normal(0.0, -1.0), Some("`stdev` is -1")),
        ("nan", normal(0.0, f64::NAN), Some("`stdev` is NaN")),
        ("infinite", normal(f64::INFINITY, 1.0), Some("`mean` is inf")),
        ("empty range", uniform(2.0, 2.0), None),
        ("other way", uniform(1.0, -1.0), Some("`up` is -1")),
        ("too far", uniform(-1e308, 1e308), Some("`up` is")),
        ("nan low", uniform(f64::NAN, 1.0), Some("`lo` is NaN")),
        ("nan up", uniform(0.0, f64::NAN), Some("`up` is NaN")),
        ("no gain", kaiming(0.0), None),
        ("negative gain", kaiming(-1.0), Some("`stdev` is -")),
        ("nan gain", kaiming(f64::NAN), Some("`stdev` is NaN")),
        ("any constant", Init::Const(f64::NEG_INFINITY), None),
    ];
    let vb = Seeded::builder(0, DType::F64, &Device::Cpu);
    for (name, init, fault) in rows {
        let drawn = vb.get_with_hints((3, 2), name, init);
        match (drawn, fault) {
            (Ok(drawn), None) => {
                let values = drawn.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                assert!(!values.iter().any(|value| value.is_nan()), "{name}");
            }
            (Err(error), Some(fault)) => assert!(error.to_string().contains(fault), "{error}"),
            (drawn, _) => panic!("{name}: {drawn:?}"),
        }
    }
    for seed in [0, 1, u64::MAX] {
        assert_eq!(draw(&builder(seed), "a", NORMAL), draw(&builder(seed), "a", NORMAL));
    }
    let empty = vb.get_with_hints((0, 2), "empty", kaiming(1.0)).unwrap();
    assert_eq!(empty.elem_count(), 0);
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
    let fault = vb.get_unchecked_dtype("head.weight", DType::F64).unwrap_err().to_string();
    assert!(fault.contains("`head.weight` was asked for before as F32"), "{fault}");
    let shown = format!("{:?}", Seeded::new(3));
    assert!(shown.contains("seed: 3"), "{shown}");
}
