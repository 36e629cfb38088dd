//! Attention that drops probabilities.

use candle_core::{DType, Device, Result, Tensor};
use freeze_core::nn::ops::{
    AttentionMask, scaled_dot_product_attention as attention,
    scaled_dot_product_attention_dropout as dropped,
};
use freeze_core::nn::{Dropout, DropoutState};

use super::{Sizes, causal, operands};
use crate::support::{check, check_against, check_half, flat, gradients};

fn dropout(p: f32) -> Dropout {
    Dropout::new(p, 11).unwrap()
}

/// What is kept of the probabilities, scaled: each by the word of its place in the generator's stream.
fn kept([b, h, _, m, n, ..]: Sizes, p: f32) -> Tensor {
    let ones = Tensor::ones((b, h, m, n), DType::F64, &Device::Cpu).unwrap();
    dropout(p).forward(&ones, true).unwrap()
}

/// The definition in f64, with one head of keys for each of queries.
fn definition(t: &[Tensor], added: Option<&Tensor>, kept: &Tensor) -> Result<Tensor> {
    let wide = |t: &Tensor| t.to_dtype(DType::F64);
    let (q, k, v) = (wide(&t[0])?, wide(&t[1])?, wide(&t[2])?);
    let mut scores = (q.matmul(&k.transpose(2, 3)?)? * (q.dim(3)? as f64).powf(-0.5))?;
    if let Some(added) = added {
        scores = scores.broadcast_add(added)?;
    }
    (candle_nn::ops::softmax(&scores, 3)? * kept)?.matmul(&v)
}

/// One and several blocks of queries and keys.
const SIZES: [Sizes; 4] = [
    [1, 1, 1, 1, 1, 1, 1],
    [2, 3, 3, 5, 7, 4, 3],
    [1, 2, 2, 130, 515, 8, 5],
    [2, 1, 1, 3, 300, 2, 2],
];

#[test]
fn results_and_gradients_are_those_of_the_dropout_of_a_matrix() {
    for sizes in SIZES {
        for p in [0.0, 0.1, 0.5, 0.9] {
            for (mask, added) in [
                (AttentionMask::None, None),
                (AttentionMask::Causal, Some(causal(sizes[3], sizes[4]))),
            ] {
                if added.is_some() && sizes[3] > sizes[4] {
                    continue;
                }
                let kept = kept(sizes, p);
                let operands = operands(1, sizes, DType::F64);
                check_against(
                    &operands,
                    1e-11,
                    |t| dropped(&t[0], &t[1], &t[2], mask, None, &dropout(p)),
                    |t| definition(t, added.as_ref(), &kept),
                );
            }
        }
    }
}

#[test]
fn gradients_by_finite_differences() {
    for sizes in [[2, 2, 1, 3, 4, 2, 3], [1, 4, 2, 4, 5, 3, 1]] {
        check(&operands(3, sizes, DType::F64), |t| {
            dropped(&t[0], &t[1], &t[2], AttentionMask::Causal, None, &dropout(0.4))
        });
    }
}

#[test]
fn halves_drop_the_same() {
    let sizes = [1, 4, 2, 70, 300, 16, 16];
    for (dtype, tolerance) in [(DType::F16, 4e-3), (DType::BF16, 4e-2)] {
        check_half(dtype, tolerance, &operands(5, sizes, dtype), |t| {
            dropped(&t[0], &t[1], &t[2], AttentionMask::None, None, &dropout(0.3))
        });
    }
}

#[test]
fn threads_and_what_is_tracked_change_nothing() {
    let operands = operands(6, [2, 4, 2, 150, 300, 32, 32], DType::F32);
    let run = |tracked: [bool; 3]| {
        gradients(&operands, &tracked, |t| {
            dropped(&t[0], &t[1], &t[2], AttentionMask::None, None, &dropout(0.2))
        })
    };
    let (y, all) = run([true; 3]);
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for place in 0..3 {
            let tracked = std::array::from_fn(|i| i == place);
            let (some_y, some) = pool.install(|| run(tracked));
            assert_eq!(flat(&some_y), flat(&y));
            let (some, all) = (some[place].as_ref().unwrap(), all[place].as_ref().unwrap());
            assert_eq!(flat(some), flat(all), "{threads} threads, operand {place}");
        }
    }
}

#[test]
fn nothing_is_drawn_at_zero_and_a_word_for_each_probability_else() {
    let t = operands(7, [2, 4, 2, 3, 5, 4, 4], DType::F32);
    let whole = attention(&t[0], &t[1], &t[2], AttentionMask::None, None).unwrap();
    let off = dropout(0.0);
    let y = dropped(&t[0], &t[1], &t[2], AttentionMask::None, None, &off).unwrap();
    assert_eq!((flat(&y), off.state().position), (flat(&whole), 0));
    let on = dropout(0.5);
    let first = dropped(&t[0], &t[1], &t[2], AttentionMask::None, None, &on).unwrap();
    assert_eq!(on.state(), DropoutState { seed: 11, position: 2 * 4 * 3 * 5 });
    assert_ne!(flat(&first), flat(&whole));
    on.set_state(DropoutState { seed: 11, position: 0 });
    let again = dropped(&t[0], &t[1], &t[2], AttentionMask::None, None, &on).unwrap();
    assert_eq!(flat(&again), flat(&first));
}
