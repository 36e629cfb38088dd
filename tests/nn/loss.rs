//! `nn::cross_entropy`: values and gradients, labels that do not count, labels that are none.

use candle_core::{DType, Device, Result, Tensor, Var};
use freeze_core::nn::cross_entropy;

use crate::support::{assert_close, check, check_against, flat, random, refusal};

fn labels(values: &[i64]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

/// Labels for `rows` rows, in the order in which they come.
fn some_labels(rows: usize, classes: usize) -> Tensor {
    labels(&(0..rows).map(|row| (row * row + row) as i64 % classes as i64).collect::<Vec<_>>())
}

#[test]
fn gradients_by_finite_differences() {
    for (shape, ignored) in [(&[4, 3][..], None), (&[2, 2, 3], Some(1)), (&[3], None)] {
        let rows = shape[..shape.len() - 1].iter().product();
        let labels = some_labels(rows, 3).reshape(&shape[..shape.len() - 1]).unwrap();
        let logits = random(1, shape, DType::F64);
        check(&[logits], |t| cross_entropy(&t[0], &labels, ignored));
    }
}

/// In f64: of many classes candle's gradient of the largest logit is a hundredth off in f32, since what
/// rounding leaves of the sum of all gradients goes to it.
#[test]
fn equal_to_candles() {
    for (rows, classes, tolerance) in
        [(1, 1, 0.), (7, 10, 1e-6), (64, 1000, 1e-6), (3, 60_000, 1e-6)]
    {
        let logits = (random(1, (rows, classes), DType::F32) * 9.).unwrap();
        let labels = some_labels(rows, classes);
        check_against(
            &[logits],
            tolerance,
            |t| cross_entropy(&t[0], &labels, None),
            |t| {
                let wide = t[0].to_dtype(DType::F64)?;
                candle_nn::loss::cross_entropy(&wide, &labels.to_dtype(DType::U32)?)
            },
        );
    }
}

/// The loss and the gradient of the logits.
fn backward(logits: &Tensor, labels: &Tensor, ignored: Option<i64>) -> Result<(Tensor, Tensor)> {
    let logits = Var::from_tensor(logits)?;
    let loss = cross_entropy(&logits, labels, ignored)?;
    let grads = (&loss * 3.)?.backward()?;
    Ok((loss, grads.get(&logits).expect("a gradient").clone()))
}

#[test]
fn ignored_rows_are_as_if_they_were_not_there() {
    let logits = random(1, (6, 5), DType::F64);
    let all = labels(&[-100, 3, 0, -100, 4, -100]);
    let counted = Tensor::new(&[1u32, 2, 4], &Device::Cpu).unwrap();
    let (loss, dx) = backward(&logits, &all, Some(-100)).unwrap();
    let chosen = logits.index_select(&counted, 0).unwrap();
    let (expected, expected_dx) = backward(&chosen, &labels(&[3, 0, 4]), None).unwrap();
    assert_close(&loss, &expected, 1e-15, "loss");
    assert_close(&dx.index_select(&counted, 0).unwrap(), &expected_dx, 1e-15, "gradient");
    let ignored = Tensor::new(&[0u32, 3, 5], &Device::Cpu).unwrap();
    assert_eq!(flat(&dx.index_select(&ignored, 0).unwrap()), [0.; 15]);
    // A class can be ignored as well, and what stands in such a row does not matter.
    let nan = Tensor::new(&[[f64::NAN, 0.], [0., 0.]], &Device::Cpu).unwrap();
    let (loss, dx) = backward(&nan, &labels(&[1, 0]), Some(1)).unwrap();
    assert!((loss.to_scalar::<f64>().unwrap() - 2f64.ln()).abs() < 1e-15);
    assert_eq!(flat(&dx), [0., 0., -1.5, 1.5]);
}

#[test]
fn halves_lose_nothing_in_the_sum() {
    for dtype in [DType::F16, DType::BF16] {
        let logits = random(1, (4000, 6), dtype);
        let labels = some_labels(4000, 6);
        let (loss, dx) = backward(&logits, &labels, None).unwrap();
        let wide = logits.to_dtype(DType::F32).unwrap();
        let (expected, expected_dx) = backward(&wide, &labels, None).unwrap();
        assert_eq!((loss.dtype(), dx.dtype()), (DType::F32, dtype));
        assert_close(&loss, &expected, 1e-7, "loss");
        assert_close(&dx, &expected_dx, 1e-5, "gradient");
    }
}

#[test]
fn extreme_logits() {
    let infinite = f32::INFINITY;
    for (logits, expected) in [
        ([1e30, -1e30], Some(0.)),
        ([-1e30, 1e30], Some(2e30)),
        ([0., -infinite], Some(0.)),
        ([-infinite, 0.], Some(f64::INFINITY)),
        ([f32::NAN, 0.], None),
        ([0., f32::NAN], None),
        ([-infinite, -infinite], None),
    ] {
        let logits = Tensor::new(&[logits], &Device::Cpu).unwrap();
        let loss = flat(&cross_entropy(&logits, &labels(&[0]), None).unwrap())[0];
        match expected {
            Some(value) => assert!(loss == value || (loss / value - 1.).abs() < 1e-6, "{logits}"),
            None => assert!(loss.is_nan(), "{logits}"),
        }
    }
}

#[test]
fn what_is_no_label_is_named() {
    let logits = random(1, (2, 3), DType::F32);
    let floats = Tensor::new(&[0f32, 1.], &Device::Cpu).unwrap();
    for (logits, labels, ignored, words) in [
        (&logits, labels(&[0, 3]), None, "label 1 is 3, expected at least 0 and less than 3"),
        (&logits, labels(&[-100, 0]), None, "label 0 is -100, expected at least 0 and less than 3"),
        (&logits, labels(&[0, i64::MAX]), Some(-100), "label 1 is 9223372036854775807"),
        (&logits, labels(&[-1, -1]), Some(-1), "of 2 labels none counts"),
        (&logits, labels(&[0]), None, "logits of shape [2, 3] for labels of shape [1]"),
        (&logits, floats, None, "the labels are F32, expected integers"),
        (&random(1, (0, 3), DType::F32), labels(&[]), None, "of 0 labels none counts"),
        (&random(1, (1, 0), DType::F32), labels(&[0]), None, "expected at least 0 and less than 0"),
        (&Tensor::new(1f32, &Device::Cpu).unwrap(), labels(&[0]), None, "logits of shape []"),
        (&logits.to_dtype(DType::U8).unwrap(), labels(&[0, 1]), None, "unsupported dtype U8"),
    ] {
        let text = refusal(cross_entropy(logits, &labels, ignored));
        assert!(text.contains(words), "{text}");
    }
    for dtype in [DType::U8, DType::U32, DType::I64] {
        let labels = labels(&[1, 2]).to_dtype(dtype).unwrap();
        assert!(cross_entropy(&logits, &labels, None).is_ok());
    }
}
