//! `ops::{max_pool2d, avg_pool2d}` and their forms with a stride.

use candle_core::{DType, Device, Result, Tensor, Var};
use freeze_core::nn::ops;
use proptest::prelude::*;

use crate::support::{check, check_against, check_half, flat, gradients, random, refusal};

type Size = (usize, usize);

fn max(kernel: Size, stride: Size) -> impl Fn(&[Tensor]) -> Result<Tensor> {
    move |t| ops::max_pool2d_with_stride(&t[0], kernel, stride)
}

fn mean(kernel: Size, stride: Size) -> impl Fn(&[Tensor]) -> Result<Tensor> {
    move |t| ops::avg_pool2d_with_stride(&t[0], kernel, stride)
}

#[test]
fn gradients_by_finite_differences() {
    for (size, kernel, stride) in [
        ((4, 4), (2, 2), (2, 2)),
        ((5, 4), (2, 3), (2, 3)),
        // Overlapping windows, and windows with gaps: candle has no backward for these.
        ((5, 6), (3, 2), (1, 1)),
        ((6, 5), (1, 2), (3, 3)),
        ((3, 3), (3, 3), (1, 1)),
    ] {
        let x = random(1, (2, 2, size.0, size.1), DType::F64);
        check(std::slice::from_ref(&x), max(kernel, stride));
        check(&[x], mean(kernel, stride));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_result_is_candles_bit_for_bit(
        planes in (1usize..4, 1usize..40),
        size in (1usize..40, 1usize..40),
        kernel in (1usize..5, 1usize..5),
        stride in (1usize..4, 1usize..4),
    ) {
        prop_assume!(kernel.0 <= size.0 && kernel.1 <= size.1);
        let x = random(1, (planes.0, planes.1, size.0, size.1), DType::F32);
        let (ours, stock) = (max(kernel, stride), x.max_pool2d_with_stride(kernel, stride));
        assert_eq!(flat(&ours(std::slice::from_ref(&x)).unwrap()), flat(&stock.unwrap()));
        let (ours, stock) = (mean(kernel, stride), x.avg_pool2d_with_stride(kernel, stride));
        assert_eq!(flat(&ours(&[x]).unwrap()), flat(&stock.unwrap()));
    }
}

#[test]
fn the_mean_gradient_is_candles() {
    let x = random(1, (3, 20, 32, 32), DType::F32);
    check_against(&[x], 1e-6, |t| ops::avg_pool2d(&t[0], 2), |t| t[0].avg_pool2d(2));
}

#[test]
fn the_first_of_several_maxima_gets_the_gradient() {
    let x = Tensor::new(&[[[[1f32, 3., 2., 2.], [3., 0., 2., 2.]]]], &Device::Cpu).unwrap();
    let x = Var::from_tensor(&x).unwrap();
    let y = ops::max_pool2d(&x, 2).unwrap();
    assert_eq!(flat(&y), [3., 2.]);
    let grads = y.backward().unwrap();
    assert_eq!(flat(grads.get(&x).unwrap()), [0., 1., 1., 0., 0., 0., 0., 0.]);
}

#[test]
fn a_strided_input_and_halves_and_nothing() {
    let x = random(1, (2, 2, 4, 6), DType::F64);
    check(std::slice::from_ref(&x), |t| ops::max_pool2d(&t[0].transpose(2, 3)?, 2));
    check(std::slice::from_ref(&x), |t| ops::avg_pool2d(&t[0].transpose(2, 3)?, (3, 2)));
    for (dtype, tolerance) in [(DType::F16, 1e-3), (DType::BF16, 1e-2)] {
        let x = x.to_dtype(DType::F32).unwrap();
        check_half(dtype, tolerance, std::slice::from_ref(&x), max((2, 2), (2, 2)));
        check_half(dtype, tolerance, &[x], mean((2, 2), (2, 2)));
    }
    let (y, _) = gradients(&[random(1, (0, 2, 4, 4), DType::F32)], &[true], max((2, 2), (2, 2)));
    assert_eq!(y.dims(), [0, 2, 2, 2]);
}

#[test]
fn windows_that_do_not_fit_are_named() {
    let x = random(1, (1, 1, 4, 3), DType::F32);
    let [no_rows, no_columns] = [(0, 4), (4, 0)].map(|(h, w)| random(1, (1, 1, h, w), DType::F32));
    for (found, start) in [
        (ops::max_pool2d(&x, (2, 4)), "max_pool2d: windows of 2 x 4, 2 x 4 apart, on 4 x 3"),
        (ops::avg_pool2d(&x, 0), "avg_pool2d: windows of 0 x 0"),
        (ops::max_pool2d_with_stride(&x, 2, (1, 0)), "max_pool2d: windows of 2 x 2, 1 x 0 apart"),
        (ops::max_pool2d(&x.squeeze(0).unwrap(), 2), "max_pool2d: the input has shape [1, 4, 3]"),
        (
            ops::max_pool2d_padded(&no_rows, 2, 1, 1),
            "max_pool2d: windows of 2 x 2, 1 x 1 apart, on 0 x 4",
        ),
        (
            ops::max_pool2d_padded(&no_columns, 2, 1, 1),
            "max_pool2d: windows of 2 x 2, 1 x 1 apart, on 4 x 0",
        ),
        (
            ops::max_pool2d_padded(&x, usize::MAX, 1, usize::MAX / 2),
            "max_pool2d: windows of 18446744073709551615 x 18446744073709551615, 1 x 1 apart",
        ),
    ] {
        let text = refusal(found);
        assert!(text.starts_with(start), "{text}");
    }
}

#[test]
fn a_window_with_no_number_shows_it() {
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        for at in 0..4 {
            for others in [[1.; 4], [4., 3., 2., 1.], [1., 2., 3., 4.], [f32::INFINITY; 4]] {
                let mut values = others;
                values[at] = f32::NAN;
                let x = Tensor::new(&values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
                let x = Var::from_tensor(&x.reshape((1, 1, 2, 2)).unwrap()).unwrap();
                let y = ops::max_pool2d(&x, 2).unwrap();
                assert!(flat(&y)[0].is_nan(), "{values:?}");
                let grads = y.backward().unwrap();
                let ones: Vec<f64> = (0..4).map(|i| f64::from(u8::from(i == at))).collect();
                assert_eq!(flat(grads.get(&x).unwrap()), ones, "{values:?}");
                assert!(flat(&ops::avg_pool2d(&x, 2).unwrap())[0].is_nan(), "{values:?}");
            }
        }
    }
}

#[test]
fn padding_is_no_maximum_and_gets_no_gradient() {
    // As candle's on what is padded by hand, with numbers that all exceed the padding.
    for (size, kernel, stride, padding) in [
        ((4, 4), (2, 2), (2, 2), (1, 1)),
        ((7, 5), (3, 3), (2, 2), (1, 1)),
        ((5, 6), (3, 2), (1, 3), (1, 0)),
        ((1, 2), (5, 4), (1, 1), (2, 2)),
        ((6, 6), (3, 3), (2, 2), (0, 0)),
    ] {
        let (rows, columns): Size = padding;
        let pool = |t: &Tensor| ops::max_pool2d_padded(t, kernel, stride, padding);
        let x = (random(1, (2, 3, size.0, size.1), DType::F64) + 2.0).unwrap();
        check(std::slice::from_ref(&x), |t| pool(&t[0]));
        let padded =
            |t: &Tensor| t.pad_with_zeros(2, rows, rows)?.pad_with_zeros(3, columns, columns);
        check_against(
            std::slice::from_ref(&x),
            0.0,
            |t| pool(&t[0]),
            |t| ops::max_pool2d_with_stride(&padded(&t[0])?, kernel, stride),
        );
        // Below 0 the padding would win, if it took part.
        let below = flat(&pool(&(&x - 4.0).unwrap()).unwrap());
        assert!(below.iter().all(|&y| y < -1.0), "{below:?}");
    }
}

#[test]
fn a_padding_shows_what_is_not_a_number() {
    let x = Tensor::new(&[[[[f32::NAN, 1., 2., 3.]]]], &Device::Cpu).unwrap();
    let y = flat(&ops::max_pool2d_padded(&x, (1, 3), (1, 2), (0, 1)).unwrap());
    assert!(y[0].is_nan() && y[1] == 3.0, "{y:?}");
}

#[test]
fn a_padding_of_more_than_half_is_refused() {
    let x = random(1, (1, 1, 4, 4), DType::F32);
    for padding in [(2, 0), (0, 2), (2, 2), (usize::MAX, 0), (0, usize::MAX / 2 + 1)] {
        let text = refusal(ops::max_pool2d_padded(&x, 3, 1, padding));
        assert!(text.contains("for windows of 3 x 3, expected at most half"), "{text}");
    }
    let text = refusal(ops::max_pool2d_padded(&x, (8, 8), 1, 1));
    assert!(text.contains("windows of 8 x 8"), "{text}");
}
