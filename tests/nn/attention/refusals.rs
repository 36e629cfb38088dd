//! Sizes of 0, and what does not fit.

use candle_core::{DType, Result, Tensor, Var};
use freeze_core::nn::ops::{AttentionMask, scaled_dot_product_attention as attention};

use super::operands;
use crate::support::{flat, gradients, random, refusal};

#[test]
fn sizes_of_zero() {
    for place in 0..7 {
        let mut sizes = [2, 4, 2, 3, 5, 6, 7];
        sizes[place] = 0;
        if place == 2 {
            sizes[1] = 0;
        }
        let operands = operands(1, sizes, DType::F32);
        for mask in [AttentionMask::None, AttentionMask::Causal] {
            let (y, grads) =
                gradients(&operands, &[true; 3], |t| attention(&t[0], &t[1], &t[2], mask, None));
            assert_eq!(y.dims(), [sizes[0], sizes[1], sizes[3], sizes[6]]);
            for (grad, operand) in grads.iter().zip(&operands) {
                assert_eq!(grad.as_ref().unwrap().shape(), operand.shape());
            }
            if sizes[4] == 0 {
                assert_eq!(flat(&y), vec![0.; 2 * 4 * 3 * 7]);
            }
            if sizes[5] == 0 && matches!(mask, AttentionMask::None) {
                // Equal scores: the mean of the values.
                let mean = operands[2].mean_keepdim(2).unwrap();
                let (found, expected) = (flat(&y.narrow(1, 0, 1).unwrap()), flat(&mean));
                for (i, found) in found.into_iter().enumerate() {
                    assert!((found - expected[i / 21 * 14 + i % 7]).abs() < 1e-6);
                }
            }
        }
    }
}

fn run(shapes: [&[usize]; 3]) -> Result<Tensor> {
    let [q, k, v] = shapes.map(|shape| random(1, shape, DType::F32));
    attention(&q, &k, &v, AttentionMask::None, None)
}

#[test]
fn what_does_not_fit_is_named() {
    let (q, k) = (&[2, 4, 3, 6][..], &[2, 2, 5, 6][..]);
    for (shapes, words) in [
        (
            [&[4, 3, 6][..], k, k],
            "the queries have shape [4, 3, 6], expected [batch, heads, length",
        ),
        ([q, &[5, 6], k], "the keys have shape [5, 6], expected"),
        ([q, k, &[1, 2, 2, 5, 6]], "the values have shape [1, 2, 2, 5, 6], expected"),
        ([q, &[2, 2, 5, 7], k], "the queries have shape [2, 4, 3, 6], the keys [2, 2, 5, 7]"),
        ([q, &[1, 2, 5, 6], k], "expected the same batch and the same last dimension"),
        ([q, k, &[2, 2, 4, 6]], "the keys have shape [2, 2, 5, 6], the values [2, 2, 4, 6]"),
        ([q, k, &[2, 4, 5, 6]], "expected the same but for the last dimension"),
        ([q, &[2, 3, 5, 6], &[2, 3, 5, 6]], "4 heads of queries cannot share 3 of keys"),
        ([q, &[2, 0, 5, 6], &[2, 0, 5, 6]], "4 heads of queries cannot share 0 of keys"),
    ] {
        let text = refusal(run(shapes));
        assert!(text.contains(words), "{text}");
    }
    run([q, k, &[2, 2, 5, 1]]).unwrap();
}

#[test]
fn types_scales_and_masks_that_do_not_fit_are_named() {
    let operands = operands(2, [2, 4, 2, 3, 5, 6, 7], DType::F32);
    let [q, k, v] = [&operands[0], &operands[1], &operands[2]];
    let f64s = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
    let ints = |t: &Tensor| t.to_dtype(DType::U32).unwrap();
    let none = AttentionMask::None;
    for (found, words) in [
        (attention(q, &f64s(k), v, none, None), "the input is F32, the keys F64"),
        (attention(q, k, &f64s(v), none, None), "the input is F32, the values F64"),
        (attention(&ints(q), &ints(k), &ints(v), none, None), "unsupported dtype U32"),
        (attention(q, k, v, none, Some(f64::NAN)), "expected a finite number"),
        (attention(q, k, v, none, Some(f64::INFINITY)), "`scale`"),
    ] {
        let text = refusal(found);
        assert!(text.contains(words), "{text}");
    }
    let mask = |shape: &[usize]| random(3, shape, DType::F32);
    let tracked = Var::from_tensor(&mask(&[3, 5])).unwrap();
    for (mask, words) in [
        (mask(&[]), "the mask has shape [], expected [2, 4, 3, 5]"),
        (mask(&[1]), "the mask has shape [1]"),
        (mask(&[3]), "the mask has shape [3]"),
        (mask(&[3, 1]), "where all but the last may be 1 or left out"),
        (mask(&[4, 5]), "the mask has shape [4, 5]"),
        (mask(&[2, 3, 5]), "the mask has shape [2, 3, 5]"),
        (mask(&[1, 2, 4, 3, 5]), "the mask has shape [1, 2, 4, 3, 5]"),
        (f64s(&mask(&[3, 5])), "the input is F32, the mask F64"),
        (tracked.as_tensor().clone(), "the mask is tracked, but gets no gradient here"),
    ] {
        for mask in [AttentionMask::Additive(&mask), AttentionMask::CausalAdditive(&mask)] {
            let text = refusal(attention(q, k, v, mask, None));
            assert!(text.contains(words), "{text}");
        }
    }
}
