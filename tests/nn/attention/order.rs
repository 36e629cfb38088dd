//! Operands that do not lie row by row, and heads that lie side by side: the bits are those of copies.

use candle_core::{DType, Result, Tensor};
use freeze_core::nn::ops::{
    AttentionMask, attention_side_by_side as side_by_side, merge_heads,
    scaled_dot_product_attention as attention, scaled_dot_product_attention_dropout as dropped,
};
use freeze_core::nn::{Dropout, DropoutState};

use super::{Sizes, operands};
use crate::support::{check, flat, gradients, random, refusal};

/// One and several blocks, a row or an element alone, heads that share keys, nothing.
const SIZES: [Sizes; 11] = [
    [1, 1, 1, 1, 1, 1, 1],
    [2, 3, 3, 1, 5, 7, 7],
    [2, 2, 1, 1, 300, 3, 3],
    [1, 4, 2, 65, 257, 9, 5],
    [2, 4, 2, 130, 515, 16, 16],
    [2, 6, 2, 3, 70, 8, 1],
    [1, 2, 2, 70, 70, 1, 8],
    [2, 12, 12, 64, 64, 32, 32],
    [1, 4, 4, 128, 256, 64, 64],
    [0, 2, 2, 3, 4, 5, 6],
    [1, 2, 2, 3, 0, 5, 6],
];

/// `[batch, heads, length, size]` as `[batch, length, heads * size]`.
fn merged(t: &Tensor) -> Tensor {
    let (batch, heads, length, size) = t.dims4().unwrap();
    t.transpose(1, 2).unwrap().reshape((batch, length, heads * size)).unwrap()
}

fn bits(found: (Tensor, Vec<Option<Tensor>>)) -> Vec<Vec<u64>> {
    let tensors = found.1.iter().flatten().chain([&found.0]);
    tensors.map(|t| flat(t).into_iter().map(f64::to_bits).collect()).collect()
}

#[test]
fn heads_side_by_side_have_the_bits_of_heads_apart() {
    for sizes in SIZES {
        let [batch, heads, key_heads, queries, keys, ..] = sizes;
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            let apart = operands(1, sizes, dtype);
            let side: Vec<Tensor> = apart.iter().map(merged).collect();
            let bias = random(2, (batch.max(1), 1, 1, keys), dtype);
            let bias = bias.narrow(0, 0, batch).unwrap();
            for (mask, p) in [
                (AttentionMask::None, 0.0),
                (AttentionMask::Causal, 0.0),
                (AttentionMask::Additive(&bias), 0.3),
            ] {
                let dropout = || Dropout::new(p, 7).unwrap();
                let expected = gradients(&apart, &[true; 3], |t| {
                    merge_heads(&dropped(&t[0], &t[1], &t[2], mask, None, &dropout())?)
                });
                let (y, grads) = expected;
                let grads = grads.iter().map(|grad| grad.as_ref().map(merged)).collect();
                let found = gradients(&side, &[true; 3], |t| {
                    let t = [&t[0], &t[1], &t[2]];
                    side_by_side(t, [heads, key_heads], mask, None, Some(&dropout()))
                });
                assert_eq!(found.0.dims(), [batch, queries, heads * sizes[6]]);
                assert_eq!(bits(found), bits((y, grads)), "{sizes:?} {dtype:?} {mask:?}");
            }
        }
    }
}

/// A view of `t` with another order of its dimensions in memory.
fn turned(t: &Tensor, [a, b]: [usize; 2]) -> Result<Tensor> {
    t.transpose(a, b)?.contiguous()?.transpose(a, b)
}

#[test]
fn views_have_the_bits_of_copies() {
    for sizes in SIZES {
        let operands = operands(3, sizes, DType::F32);
        for mask in [AttentionMask::None, AttentionMask::Causal] {
            let run = |view: &dyn Fn(&Tensor) -> Result<Tensor>| {
                bits(gradients(&operands, &[true; 3], |t| {
                    attention(&view(&t[0])?, &view(&t[1])?, &view(&t[2])?, mask, None)
                }))
            };
            let expected = run(&|t| Ok(t.clone()));
            for swap in [[0, 1], [1, 2], [0, 2], [2, 3], [1, 3]] {
                assert_eq!(run(&|t| turned(t, swap)), expected, "{sizes:?} {swap:?} {mask:?}");
            }
            // Rows of a wider tensor, which begin within it.
            let wider = |t: &Tensor| Tensor::cat(&[t, t, t], 3)?.narrow(3, t.dim(3)?, t.dim(3)?);
            assert_eq!(run(&wider), expected, "{sizes:?} {mask:?}");
        }
    }
}

#[test]
fn one_row_for_all_places_is_read_as_many() {
    let [q, k, v] = [1, 2, 3].map(|seed| random(seed, (2, 1, 1, 8), DType::F32));
    let wide = |t: &Tensor| t.broadcast_as((2, 3, 5, 8));
    let run = |view: &dyn Fn(&Tensor) -> Result<Tensor>| {
        let [q, k, v] = [&q, &k, &v].map(|t| view(t).unwrap());
        flat(&attention(&q, &k, &v, AttentionMask::Causal, None).unwrap())
    };
    assert_eq!(run(&|t| wide(t)), run(&|t| wide(t)?.contiguous()));
}

#[test]
fn gradients_by_finite_differences_in_any_mixture() {
    let operands = operands(4, [2, 4, 2, 3, 5, 2, 3], DType::F64);
    for side in 0..8usize {
        let given: Vec<Tensor> = operands
            .iter()
            .enumerate()
            .map(|(place, t)| if side >> place & 1 == 1 { merged(t) } else { t.clone() })
            .collect();
        check(&given, |t| {
            side_by_side([&t[0], &t[1], &t[2]], [4, 2], AttentionMask::Causal, None, None)
        });
    }
}

#[test]
fn a_word_is_drawn_for_each_probability() {
    let side: Vec<Tensor> =
        operands(5, [2, 4, 2, 3, 5, 2, 3], DType::F32).iter().map(merged).collect();
    let run = |dropout: Option<&Dropout>| {
        side_by_side([&side[0], &side[1], &side[2]], [4, 2], AttentionMask::None, None, dropout)
    };
    let (some, none) = (Dropout::new(0.5, 1).unwrap(), Dropout::new(0.0, 1).unwrap());
    let [plain, zero, dropped] = [None, Some(&none), Some(&some)].map(|p| flat(&run(p).unwrap()));
    assert!(plain == zero && plain != dropped);
    let positions = [&none, &some].map(|dropout| {
        let DropoutState { position, .. } = dropout.state();
        position
    });
    assert_eq!(positions, [0, 2 * 4 * 3 * 5]);
}

#[test]
fn what_does_not_fit_is_named() {
    let run = |shapes: [&[usize]; 3], heads| {
        let [q, k, v] = shapes.map(|shape| random(1, shape, DType::F32));
        side_by_side([&q, &k, &v], heads, AttentionMask::None, None, None)
    };
    let (q, k) = (&[2, 3, 8][..], &[2, 5, 4][..]);
    run([q, k, k], [4, 2]).unwrap();
    for (shapes, heads, words) in [
        ([q, k, k], [3, 2], "the queries have shape [2, 3, 8], expected [batch, length, width]"),
        ([q, k, k], [4, 3], "the keys have shape [2, 5, 4]"),
        ([q, k, k], [0, 2], "with a width of 0 heads"),
        ([q, k, k], [4, 4], "expected the same batch and the same last dimension"),
        ([q, k, &[2, 5, 3]], [4, 2], "the values have shape [2, 5, 3]"),
        ([&[2, 3, 3, 2], k, k], [4, 2], "the queries have shape [2, 3, 3, 2]"),
        ([q, &[5, 4], k], [4, 2], "or [batch, 2, length, size]"),
        ([q, k, k], [8, 3], "the keys have shape"),
    ] {
        let text = refusal(run(shapes, heads));
        assert!(text.contains(words), "{text}");
    }
}
