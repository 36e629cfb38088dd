//! `ops::{relu, gelu, gelu_erf, silu, sigmoid, tanh, prelu}` and `nn::PReLU`.

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use freeze_core::Freezable;
use freeze_core::nn::{self, ops};

use crate::support::{
    assert_close, check, check_against, check_half, flat, gradients, random, refusal,
};

type Function = fn(&Tensor) -> Result<Tensor>;

const TABLE: [(&str, Function, Function); 6] = [
    ("relu", ops::relu, Tensor::relu),
    ("gelu", ops::gelu, Tensor::gelu),
    ("gelu_erf", ops::gelu_erf, Tensor::gelu_erf),
    ("silu", ops::silu, Tensor::silu),
    ("sigmoid", ops::sigmoid, candle_nn::ops::sigmoid),
    ("tanh", ops::tanh, Tensor::tanh),
];

#[test]
fn gradients_by_finite_differences() {
    // Nothing so near 0 that a difference would straddle the kink.
    let x = random(1, (4, 5), DType::F64).affine(4., 0.01).unwrap();
    for (_, ours, _) in TABLE {
        check(std::slice::from_ref(&x), |t| ours(&t[0]));
        check(std::slice::from_ref(&x), |t| ours(&t[0].t()?));
    }
}

#[test]
fn the_result_is_candles_bit_for_bit() {
    let same = |name: &str| ["relu", "gelu_erf"].contains(&name);
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        for (name, ours, stock) in TABLE.into_iter().filter(|(name, ..)| same(name)) {
            let x = random(1, 100_003, dtype).affine(6., 0.).unwrap();
            assert_eq!(flat(&ours(&x).unwrap()), flat(&stock(&x).unwrap()), "{name} {dtype:?}");
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_stays_so() {
    let (x, grad) = ([-1f32, 1., -1., 1.], [f32::INFINITY, f32::INFINITY, f32::NAN, 2.]);
    let [x, grad] = [x, grad].map(|values| Tensor::new(&values, &Device::Cpu).unwrap());
    for (name, ours, stock) in TABLE {
        let slope = |f: Function| {
            let x = Var::from_tensor(&x).unwrap();
            let grads = (f(&x).unwrap() * &grad).unwrap().backward().unwrap();
            flat(grads.get(&x).unwrap())
        };
        let finite = |values: Vec<f64>| values.into_iter().map(f64::is_finite).collect::<Vec<_>>();
        assert_eq!(finite(slope(ours)), [false, false, false, true], "{name}");
        assert_eq!(finite(slope(stock)), [false, false, false, true], "{name}");
    }
}

/// The error of a function, as a share of GELU in double precision, at its worst over some numbers.
fn off(function: Function, xs: impl Iterator<Item = f32>) -> f64 {
    let xs: Vec<f32> = xs.collect();
    let found = function(&Tensor::new(xs.as_slice(), &Device::Cpu).unwrap()).unwrap();
    let error = |(x, found): (f32, f64)| {
        let x = f64::from(x);
        let inner = (2. / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        let exact = x / (1. + (-2. * inner).exp());
        (found - exact).abs() / exact.abs()
    };
    xs.into_iter().zip(flat(&found)).map(error).fold(0., f64::max)
}

#[test]
fn gelu_is_nearer_the_formula_than_candles() {
    let between =
        |from: f32, to: f32| (1..50_000).map(move |i| from + (to - from) * i as f32 / 5e4);
    for (from, to, most) in [(0., 9., 4e-7), (-1., 0., 6e-7), (-4., -1., 4e-6), (-9., -4., 3e-5)] {
        let (found, stock) =
            (off(ops::gelu, between(from, to)), off(Tensor::gelu, between(from, to)));
        assert!(found <= most && found < stock, "{found:e}, {stock:e} between {from} and {to}");
    }
    let xs = [0., -0., 1e30, -1e30, f32::INFINITY, f32::NAN];
    let found = flat(&ops::gelu(&Tensor::new(&xs, &Device::Cpu).unwrap()).unwrap());
    assert_eq!(found[..5], [0., 0., f64::from(1e30f32), 0., f64::INFINITY]);
    assert!(found[5].is_nan());
}

#[test]
fn gradients_are_candles() {
    for (name, ours, stock) in TABLE {
        // candle writes the constants of gelu's derivatives with six digits.
        let tolerance = match name {
            "relu" => 0.,
            "gelu" | "gelu_erf" => 1e-5,
            _ => 1e-6,
        };
        let x = random(1, 100_003, DType::F32).affine(3., 0.).unwrap();
        check_against(&[x], tolerance, |t| ours(&t[0]), |t| stock(&t[0]));
    }
}

#[test]
fn relu_passes_the_gradient_at_zero_as_candle_does() {
    let x = Tensor::new(&[-1f32, -0.0, 0.0, 1.], &Device::Cpu).unwrap();
    let slope = |f: Function| {
        let x = Var::from_tensor(&x).unwrap();
        flat(f(&x).unwrap().backward().unwrap().get(&x).unwrap())
    };
    assert_eq!(slope(ops::relu), [0., 1., 1., 1.]);
    assert_eq!(slope(ops::relu), slope(Tensor::relu));
}

#[test]
fn halves_and_nothing() {
    for (_, ours, _) in TABLE {
        let x = random(1, (3, 50), DType::F32).affine(3., 0.).unwrap();
        check_half(DType::F16, 2e-3, std::slice::from_ref(&x), |t| ours(&t[0]));
        check_half(DType::BF16, 2e-2, &[x], |t| ours(&t[0]));
        let (y, _) = gradients(&[random(1, (0, 3), DType::F32)], &[true], |t| ours(&t[0]));
        assert_eq!(y.dims(), [0, 3]);
    }
}

/// Input and slopes: one for all, one for each channel, one for each element.
const SLOPES: [(&[usize], &[usize]); 7] = [
    (&[2, 3], &[]),
    (&[2, 3], &[1]),
    (&[4], &[4]),
    (&[2, 3], &[3]),
    (&[2, 3, 4, 2], &[3]),
    (&[2, 3], &[2, 3]),
    (&[5], &[1]),
];

fn prelu(t: &[Tensor]) -> Result<Tensor> {
    ops::prelu(&t[0], &t[1])
}

#[test]
fn prelu_gradients_by_finite_differences() {
    for (x, w) in SLOPES {
        check(&[random(1, x, DType::F64), random(2, w, DType::F64)], prelu);
    }
}

#[test]
fn prelu_has_the_slope_of_negative_numbers_at_zero() {
    let x = Var::new(&[-1f64, -0.0, 0.0, 1.], &Device::Cpu).unwrap();
    for slopes in [vec![0.25], vec![0.25, 0.5, 0.75, 1.]] {
        let expected: Vec<f64> = (0..3).map(|i| slopes[i % slopes.len()]).chain([1.]).collect();
        let w = Tensor::new(slopes, &Device::Cpu).unwrap();
        let grads = ops::prelu(&x, &w).unwrap().backward().unwrap();
        assert_eq!(grads.get(&x).unwrap().to_vec1::<f64>().unwrap(), expected);
    }
}

#[test]
fn prelu_is_candles() {
    for (x, w) in [(&[40, 3, 30, 30][..], 3), (&[200, 300], 300), (&[70_000], 1)] {
        let operands = [random(1, x, DType::F32), random(2, w, DType::F32)];
        let stock = |t: &[Tensor]| candle_nn::PReLU::new(t[1].clone(), w == 1).forward(&t[0]);
        let ours = |t: &[Tensor]| nn::PReLU::new(t[1].clone(), w == 1).forward(&t[0]);
        assert_eq!(flat(&ours(&operands).unwrap()), flat(&stock(&operands).unwrap()));
        // The sums of the slopes' gradients run over many elements.
        check_against(&operands, 2e-4, prelu, stock);
    }
}

#[test]
fn prelu_halves_nothing_and_wrong_shapes() {
    let operands = [random(1, (2, 3, 5), DType::F32), random(2, 3, DType::F32)];
    check_half(DType::F16, 2e-3, &operands, prelu);
    check_half(DType::BF16, 2e-2, &operands, prelu);
    let empty = [random(1, (0, 3, 5), DType::F32), random(2, 3, DType::F32)];
    let (y, grads) = gradients(&empty, &[true; 2], prelu);
    assert_eq!(y.dims(), [0, 3, 5]);
    assert_eq!(flat(grads[1].as_ref().unwrap()), [0.; 3]);
    let text = refusal(ops::prelu(&operands[0], &random(3, 5, DType::F32)));
    assert!(
        text.starts_with("prelu: 5 slopes of shape [5] for an input of shape [2, 3, 5]"),
        "{text}"
    );
    let double = operands[1].to_dtype(DType::F64).unwrap();
    let text = refusal(ops::prelu(&operands[0], &double));
    assert!(text.starts_with("prelu: the input is F32, the slopes F64"), "{text}");
}

#[test]
fn the_layer_freezes_and_has_candles_names() {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let layer = nn::prelu(Some(3), vb.pp("a")).unwrap();
    let scalar = nn::prelu(None, vb.pp("b")).unwrap();
    assert!(scalar.is_scalar() && !layer.is_scalar());
    let x = random(1, (2, 3), DType::F32);
    assert!(layer.forward(&x).unwrap().track_op());
    assert!(!layer.freeze_upto(1).unwrap().forward(&x).unwrap().track_op());
    let stock = candle_nn::prelu(Some(3), vb.pp("a")).unwrap();
    let converted = nn::PReLU::from(stock.clone());
    assert_eq!(converted.weight().id(), stock.weight().id(), "the same variable, not a copy");
    let y = stock.forward(&x).unwrap();
    assert_close(&converted.forward(&x).unwrap(), &y, 0., "conversion");
    assert_eq!((layer.vars().unwrap().len(), layer.leaves().unwrap()[0].kind), (1, "PReLU"));
}

/// A variable of `dtype` and the gradient of the sum of `run`'s result times `factors`.
fn backward(
    values: &[f32],
    factors: &[f32],
    dtype: DType,
    run: impl Fn(&Tensor) -> Result<Tensor>,
) -> (Vec<f64>, Vec<f64>) {
    let tensor = |values| Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    let x = Var::from_tensor(&tensor(values)).unwrap();
    let y = run(&x).unwrap();
    let loss = (&y * tensor(factors)).unwrap().sum_all().unwrap();
    (flat(&y), flat(loss.backward().unwrap().get(&x).unwrap()))
}

#[test]
fn what_is_no_number_stays_visible() {
    const NAN: f32 = f32::NAN;
    let shown = |values: Vec<f64>| values.into_iter().map(f64::is_nan).collect::<Vec<_>>();
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        for (_, run, _) in TABLE {
            let (y, _) = backward(&[NAN, -1., 2.], &[1.; 3], dtype, run);
            assert_eq!(shown(y), [true, false, false]);
            let (_, dx) = backward(&[-1., 2., -3.], &[NAN, NAN, 1.], dtype, run);
            assert_eq!(shown(dx), [true, true, false]);
        }
        let (y, _) = backward(&[NAN, -1., 2.], &[1.; 3], dtype, ops::relu);
        assert_eq!(y[1..], [0., 2.]);
        // The gradient of the slopes: inputs and gradients that are no numbers, above zero and below.
        for (x, factor, seen) in [
            (-2., 1., false),
            (2., 1., false),
            (NAN, 1., true),
            (-2., NAN, true),
            (2., NAN, true),
            (2., f32::INFINITY, true),
        ] {
            let x = Tensor::new(&[[x, 1.]], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            let one = backward(&[0.5], &[1.], dtype, |w| {
                let factors = Tensor::new(&[[factor, 1.]], &Device::Cpu)?.to_dtype(dtype)?;
                (ops::prelu(&x, w)? * factors)?.sum_all()?.reshape(1)
            });
            assert_eq!(shown(one.1), [seen], "{x} times {factor}");
            let each =
                backward(&[0.5, 0.5], &[factor, 1.], dtype, |w| ops::prelu(&x, w)?.reshape(2));
            assert_eq!(shown(each.1), [seen, false], "{x} times {factor}");
        }
    }
}
