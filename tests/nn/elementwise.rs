//! `ops::{add, add_relu, mul, affine}`.

use candle_core::{DType, Device, Result, Tensor, Var};
use freeze_core::nn::ops;
use proptest::prelude::*;

use crate::support::{
    assert_close, check, check_against, check_half, flat, gradients, random, refusal,
};

type Function = fn(&Tensor, &Tensor) -> Result<Tensor>;

const TABLE: [(&str, Function, Function); 3] = [
    ("add", ops::add, Tensor::broadcast_add),
    ("add_relu", ops::add_relu, |a, b| a.broadcast_add(b)?.relu()),
    ("mul", ops::mul, Tensor::broadcast_mul),
];

/// Equal shapes, one that is gone through again and again, and others that broadcast.
const SHAPES: [(&[usize], &[usize]); 10] = [
    (&[2, 3], &[2, 3]),
    (&[2, 3, 2], &[2]),
    (&[3], &[2, 3]),
    (&[2, 3, 2], &[1, 3, 2]),
    (&[], &[2, 3]),
    (&[4], &[1]),
    (&[2, 3, 2], &[3, 1]),
    (&[3, 1], &[1, 2]),
    (&[1, 2], &[3, 1]),
    (&[], &[]),
];

#[test]
fn gradients_by_finite_differences() {
    for (_, ours, _) in TABLE {
        for (a, b) in SHAPES {
            check(&[random(1, a, DType::F64), random(2, b, DType::F64)], |t| ours(&t[0], &t[1]));
        }
        let turned = [random(1, (2, 3), DType::F64), random(2, (3, 2), DType::F64)];
        check(&turned, |t| ours(&t[0].t()?, &t[1]));
        let one = random(1, (2, 3), DType::F64);
        check(&[one], |t| ours(&t[0], &t[0]));
    }
    check(&[random(1, (2, 3), DType::F64)], |t| ops::affine(&t[0], -1.5, 0.7));
    check(&[random(1, (2, 3), DType::F64)], |t| ops::affine(&t[0].t()?, 0., 0.7));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn equal_to_candles(
        sizes in prop::collection::vec((1usize..5, 0usize..4), 1..4),
        left in 0usize..3,
        half in any::<bool>(),
    ) {
        // Of each dimension either operand may have one place alone; the second may lack some.
        let dtype = if half { DType::BF16 } else { DType::F32 };
        let side = |which| sizes.iter().map(move |&(size, kind)| if kind == which { 1 } else { size });
        let (a, b): (Vec<_>, Vec<_>) = (side(1).collect(), side(2).skip(left).collect());
        let operands = [random(1, a, dtype), random(2, b, dtype)];
        let tolerance = if half { 2e-2 } else { 1e-5 };
        // candle adds up halves in halves, so it is asked in f32.
        let wide = |t: &Tensor| t.to_dtype(DType::F32);
        for (_, ours, stock) in TABLE {
            let expected = |t: &[Tensor]| stock(&wide(&t[0])?, &wide(&t[1])?)?.to_dtype(dtype);
            check_against(&operands, tolerance, |t| ours(&t[0], &t[1]), expected);
        }
    }
}

#[test]
fn equal_to_candles_where_there_are_pieces() {
    for (a, b) in [(&[70, 1001][..], &[70, 1001][..]), (&[70, 1001], &[1001]), (&[90_000, 1], &[1])]
    {
        let operands = [random(1, a, DType::F32), random(2, b, DType::F32)];
        for (name, ours, stock) in TABLE {
            let (y, expected) =
                (ours(&operands[0], &operands[1]), stock(&operands[0], &operands[1]));
            assert_eq!(flat(&y.unwrap()), flat(&expected.unwrap()), "{name} of {a:?}, {b:?}");
            // candle adds many numbers up one by one.
            check_against(&operands, 1e-4, |t| ours(&t[0], &t[1]), |t| stock(&t[0], &t[1]));
        }
        let y = ops::affine(&operands[0], 3.5, -0.25).unwrap();
        assert_eq!(flat(&y), flat(&operands[0].affine(3.5, -0.25).unwrap()));
    }
}

#[test]
fn halves_nothing_and_refusals() {
    let operands = [random(1, (3, 50), DType::F32), random(2, 50, DType::F32)];
    for (name, ours, _) in TABLE {
        check_half(DType::F16, 2e-3, &operands, |t| ours(&t[0], &t[1]));
        check_half(DType::BF16, 2e-2, &operands, |t| ours(&t[0], &t[1]));
        let empty = [random(1, (0, 3), DType::F32), random(2, 3, DType::F32)];
        let (y, grads) = gradients(&empty, &[true; 2], |t| ours(&t[0], &t[1]));
        assert_eq!((y.dims(), flat(grads[1].as_ref().unwrap())), (&[0, 3][..], vec![0.; 3]));
        let text = refusal(ours(&operands[0], &random(1, 49, DType::F32)));
        assert!(text.contains("shape mismatch") && text.contains(name), "{text}");
        let text = refusal(ours(&operands[0], &operands[1].to_dtype(DType::F64).unwrap()));
        assert!(text.contains("the input is F32, the other operand F64"), "{text}");
        let whole = Tensor::new(&[1u32], &Device::Cpu).unwrap();
        assert!(refusal(ours(&whole, &whole)).contains("unsupported dtype U32"));
    }
    check_half(DType::F16, 2e-3, &operands[..1], |t| ops::affine(&t[0], 1.5, 0.25));
    let whole = Tensor::new(&[1u32], &Device::Cpu).unwrap();
    assert!(refusal(ops::affine(&whole, 1., 0.)).contains("affine: the input is U32"));
}

#[test]
fn what_is_no_number_stays_visible_and_zero_passes() {
    let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
    let a = tensor(&[f32::NAN, -1., 0., 1., f32::INFINITY, -2.]);
    let b = tensor(&[0., 1., 0., f32::NAN, 1., f32::NEG_INFINITY]);
    for (name, ours, _) in TABLE {
        let y = flat(&ours(&a, &b).unwrap());
        assert!(y[0].is_nan() && y[3].is_nan() && y[4] == f64::INFINITY, "{name}: {y:?}");
    }
    let x = Var::from_tensor(&a).unwrap();
    let weights = tensor(&[1., 2., 3., 4., 5., f32::INFINITY]);
    let loss = (ops::add_relu(&x, &b).unwrap() * weights).unwrap().sum_all().unwrap();
    let dx = flat(loss.backward().unwrap().get(&x).unwrap());
    // As `relu`: it passes at 0, and 0 times what is infinite shows.
    assert_eq!(dx[..5], [0., 2., 3., 0., 5.]);
    assert!(dx[5].is_nan());
}

#[test]
fn a_fused_sum_is_the_two_operations_bit_for_bit() {
    let operands = [random(1, (33, 70), DType::F32), random(2, (33, 70), DType::F32)];
    let run = |f: Function| gradients(&operands, &[true; 2], |t| f(&t[0], &t[1]));
    let (y, grads) = run(ops::add_relu);
    let (expected, expected_grads) = run(|a, b| ops::relu(&ops::add(a, b)?));
    assert_eq!(flat(&y), flat(&expected));
    for (grad, expected) in grads.iter().zip(&expected_grads) {
        assert_close(grad.as_ref().unwrap(), expected.as_ref().unwrap(), 0., "gradient");
    }
}
