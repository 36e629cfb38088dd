//! `ops::{flatten_from, split_heads, merge_heads}`.

use candle_core::{DType, Result, Tensor};
use freeze_core::nn::ops::{flatten_from, merge_heads, split_heads};

use crate::support::{check, check_against, flat, gradients, random, refusal};

fn candles_split(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, sequence, width) = x.dims3()?;
    x.reshape((batch, sequence, heads, width / heads))?.transpose(1, 2)?.contiguous()
}

#[test]
fn gradients_by_finite_differences() {
    let dtype = DType::F64;
    check(&[random(1, (2, 3, 4), dtype)], |t| split_heads(&t[0], 2));
    check(&[random(1, (2, 3, 4), dtype)], |t| split_heads(&t[0].transpose(0, 1)?, 4));
    check(&[random(1, (2, 3, 4, 1), dtype)], |t| merge_heads(&t[0]));
    check(&[random(1, (2, 3, 2), dtype)], |t| flatten_from(&t[0], 1));
    check(&[random(1, (2, 3, 2), dtype)], |t| flatten_from(&t[0].t()?, 0));
}

#[test]
fn equal_to_candles() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let x = random(1, (3, 70, 96), dtype);
        check_against(
            std::slice::from_ref(&x),
            0.,
            |t| split_heads(&t[0], 6),
            |t| candles_split(&t[0], 6),
        );
        let split = split_heads(&x, 6).unwrap();
        assert_eq!(flat(&merge_heads(&split).unwrap()), flat(&x), "there and back");
        check_against(
            &[split],
            0.,
            |t| merge_heads(&t[0]),
            |t| t[0].transpose(1, 2)?.reshape((3, 70, 96)),
        );
        check_against(&[x], 0., |t| flatten_from(&t[0], 1), |t| t[0].flatten_from(1));
    }
}

#[test]
fn nothing_and_refusals() {
    for (shape, heads) in [([0, 3, 4], 2), ([2, 0, 4], 2), ([2, 3, 0], 2)] {
        let (y, _) =
            gradients(&[random(1, &shape, DType::F32)], &[true], |t| split_heads(&t[0], heads));
        assert_eq!(y.dims(), [shape[0], heads, shape[1], shape[2] / heads]);
        assert_eq!(merge_heads(&y).unwrap().dims(), shape);
        let flat = [shape[0], heads, shape[1] * shape[2] / heads];
        assert_eq!(flatten_from(&y, 2).unwrap().dims(), flat);
    }
    let x = random(1, (2, 3, 4), DType::F32);
    for heads in [0, 3] {
        let text = refusal(split_heads(&x, heads));
        assert!(
            text.contains("the input has shape [2, 3, 4], expected [batch, sequence"),
            "{text}"
        );
    }
    assert!(merge_heads(&x).is_err());
    assert!(refusal(flatten_from(&x, 3)).contains("no dimension 3"));
}
