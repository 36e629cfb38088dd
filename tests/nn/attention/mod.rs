//! `nn::ops::scaled_dot_product_attention` against its definition in f64.

mod dropout;
mod masks;
mod order;
mod refusals;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use freeze_core::nn::ops::{AttentionMask, scaled_dot_product_attention as attention};
use proptest::prelude::*;

use crate::support::{assert_close, check, check_against, check_half, flat, gradients, random};

/// Batch, heads of queries and of keys, queries, keys, size of a query and of a value.
type Sizes = [usize; 7];

/// Queries, keys and values in [-3, 3).
fn operands(seed: u64, [b, h, g, m, n, d, e]: Sizes, dtype: DType) -> Vec<Tensor> {
    let shapes = [[b, h, m, d], [b, g, n, d], [b, g, n, e]];
    let scaled = |(i, shape): (usize, [usize; 4])| {
        (random(seed + i as u64, &shape[..], DType::F64) * 3.).unwrap().to_dtype(dtype).unwrap()
    };
    shapes.into_iter().enumerate().map(scaled).collect()
}

/// The definition in f64; `added` is added to the scores.
fn definition(t: &[Tensor], added: Option<&Tensor>, scale: f64) -> Result<Tensor> {
    let (heads, key_heads) = (t[0].dim(1)?, t[1].dim(1)?);
    let served: Vec<u32> = (0..heads).map(|head| (head * key_heads / heads) as u32).collect();
    let served = Tensor::new(served, &Device::Cpu)?;
    let wide = |t: &Tensor| t.to_dtype(DType::F64)?.contiguous();
    let (q, k, v) = (wide(&t[0])?, wide(&t[1])?, wide(&t[2])?);
    let (k, v) = (k.index_select(&served, 1)?, v.index_select(&served, 1)?);
    let mut scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? * scale)?;
    if let Some(added) = added {
        scores = scores.broadcast_add(&added.to_dtype(DType::F64)?)?;
    }
    candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&v)
}

/// `-inf` for what lies behind a query's place.
fn causal(queries: usize, keys: usize) -> Tensor {
    let hidden = |i: usize, j: usize| j + queries > i + keys;
    let value = |place: usize| match hidden(place / keys, place % keys) {
        true => f64::NEG_INFINITY,
        false => 0.,
    };
    let values = (0..queries * keys).map(value).collect();
    Tensor::from_vec(values, (queries, keys), &Device::Cpu).unwrap()
}

fn agrees(sizes: Sizes, seed: u64, causally: bool) {
    let (queries, keys) = (sizes[3], sizes[4]);
    let (mask, added) = match causally {
        true => (AttentionMask::Causal, Some(causal(queries, keys))),
        false => (AttentionMask::None, None),
    };
    let scale = (sizes[5] as f64).powf(-0.5);
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
        check_against(
            &operands(seed, sizes, dtype),
            tolerance,
            |t| attention(&t[0], &t[1], &t[2], mask, None),
            |t| definition(t, added.as_ref(), scale),
        );
    }
}

/// One and several blocks of queries and keys, whole and in part.
#[test]
fn equal_to_the_definition() {
    for sizes in [
        [1, 1, 1, 1, 1, 1, 1],
        [2, 3, 3, 1, 5, 7, 7],
        [2, 2, 1, 1, 300, 3, 3],
        [1, 4, 2, 65, 257, 9, 5],
        [1, 2, 2, 130, 515, 16, 16],
        [2, 6, 2, 3, 70, 8, 1],
        [1, 1, 1, 128, 256, 33, 64],
    ] {
        agrees(sizes, 1, false);
        agrees(sizes, 2, true);
    }
    agrees([1, 2, 1, 70, 1, 3, 3], 1, false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_shape_agrees(
        (batch, key_heads, group) in (1usize..3, 1usize..3, 1usize..4),
        (queries, more) in (1usize..90, 0usize..300),
        (inner, width) in (1usize..20, 1usize..20),
        seed in 0..u64::MAX / 2,
        causally in any::<bool>(),
    ) {
        let heads = key_heads * group;
        agrees([batch, heads, key_heads, queries, queries + more, inner, width], seed, causally);
    }
}

#[test]
fn gradients_by_finite_differences() {
    for sizes in [[1, 1, 1, 1, 1, 1, 1], [2, 2, 1, 3, 4, 2, 3], [1, 2, 2, 4, 2, 3, 1]] {
        let operands = operands(3, sizes, DType::F64);
        for mask in [AttentionMask::None, AttentionMask::Causal] {
            for scale in [None, Some(-0.3), Some(0.)] {
                check(&operands, |t| attention(&t[0], &t[1], &t[2], mask, scale));
            }
        }
    }
}

#[test]
fn gradients_of_what_is_tracked_do_not_depend_on_the_rest() {
    let operands = operands(4, [1, 4, 2, 70, 300, 8, 8], DType::F32);
    let run = |tracked: &[bool]| {
        gradients(&operands, tracked, |t| {
            attention(&t[0], &t[1], &t[2], AttentionMask::Causal, None)
        })
    };
    let (y, all) = run(&[true; 3]);
    for subset in 0..8usize {
        let tracked: Vec<bool> = (0..3).map(|i| subset >> i & 1 == 1).collect();
        let (some_y, some) = run(&tracked);
        assert_eq!(flat(&some_y), flat(&y));
        for (some, all) in
            some.iter().zip(&all).filter_map(|(some, all)| some.as_ref().zip(all.as_ref()))
        {
            assert_eq!(flat(some), flat(all), "subset {subset:b}");
        }
    }
}

#[test]
fn halves_are_computed_in_f32() {
    let sizes = [1, 4, 2, 70, 300, 16, 16];
    for (dtype, tolerance) in [(DType::F16, 2e-3), (DType::BF16, 2e-2)] {
        for mask in [AttentionMask::None, AttentionMask::Causal] {
            check_half(dtype, tolerance, &operands(5, sizes, dtype), |t| {
                attention(&t[0], &t[1], &t[2], mask, None)
            });
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let operands = operands(6, [2, 4, 2, 150, 300, 32, 32], DType::F32);
    let run = || {
        let (y, grads) = gradients(&operands, &[true; 3], |t| {
            attention(&t[0], &t[1], &t[2], AttentionMask::Causal, None)
        });
        grads.iter().flatten().chain([&y]).map(flat).collect::<Vec<_>>()
    };
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(run)
    };
    assert_eq!(on(1), on(2));
    assert_eq!(on(1), run());
}

/// Heads next to each other in a row, as a linear layer leaves them.
#[test]
fn views_are_their_copies() {
    let rows = operands(7, [2, 70, 70, 3, 3, 5, 5], DType::F64);
    let view = |t: &Tensor| t.transpose(1, 2);
    check_against(
        &rows,
        1e-12,
        |t| attention(&view(&t[0])?, &view(&t[1])?, &view(&t[2])?, AttentionMask::None, None),
        |t| definition(&[view(&t[0])?, view(&t[1])?, view(&t[2])?], None, 5f64.powf(-0.5)),
    );
}

#[test]
fn large_scores_choose() {
    // The second key, over the first by 4e30, in a block of its own.
    let q = Tensor::new(&[[2e15f32]], &Device::Cpu).unwrap().reshape((1, 1, 1, 1)).unwrap();
    let keys = 600;
    let value = |at: usize| move |i: usize| if i == at { 2e15 } else { -2e15 };
    for at in [0, 255, 256, 599] {
        let k: Vec<f32> = (0..keys).map(value(at)).collect();
        let k = Tensor::from_vec(k, (1, 1, keys, 1), &Device::Cpu).unwrap();
        let v =
            Tensor::arange(0f32, keys as f32, &Device::Cpu).unwrap().reshape(k.shape()).unwrap();
        let operands = [q.clone(), k, v];
        let (y, grads) = gradients(&operands, &[true; 3], |t| {
            attention(&t[0], &t[1], &t[2], AttentionMask::None, None)
        });
        assert_eq!(flat(&y), [at as f64]);
        let [dq, dk, dv] = [0, 1, 2].map(|i| flat(grads[i].as_ref().unwrap()));
        assert!(dq.iter().chain(&dk).all(|slope| *slope == 0.), "{dq:?}");
        let expected = |i| if i == at { 2. * at as f64 } else { 0. };
        assert_eq!(dv, (0..keys).map(expected).collect::<Vec<_>>());
    }
}

#[test]
fn nan_stays_visible() {
    for operand in 0..3 {
        for at in [0, 299] {
            let mut operands = operands(8, [1, 1, 1, 300, 300, 1, 1], DType::F32);
            let mut values = flat(&operands[operand]);
            values[at] = f64::NAN;
            let values = Tensor::from_vec(values, (1, 1, 300, 1), &Device::Cpu).unwrap();
            operands[operand] = values.to_dtype(DType::F32).unwrap();
            let (y, grads) = gradients(&operands, &[true; 3], |t| {
                attention(&t[0], &t[1], &t[2], AttentionMask::None, None)
            });
            let y = flat(&y);
            match operand {
                0 => assert!(y.iter().enumerate().all(|(i, y)| y.is_nan() == (i == at)), "{at}"),
                _ => assert!(y.iter().all(|y| y.is_nan()), "{operand} {at}"),
            }
            assert!(grads.iter().flatten().all(|grad| flat(grad).iter().any(|x| x.is_nan())));
        }
    }
}

#[test]
fn nothing_is_recorded_but_the_result() {
    let [q, k, v]: [Tensor; 3] = operands(9, [1, 2, 2, 3, 3, 4, 4], DType::F32).try_into().unwrap();
    let q = Var::from_tensor(&q).unwrap();
    let y = attention(&q, &k, &v, AttentionMask::None, None).unwrap();
    // The query, the operation and its result.
    assert_eq!(y.sorted_nodes().len(), 3);
    let reference = definition(&[q.as_detached_tensor(), k, v], None, 0.5).unwrap();
    assert_close(&y, &reference, 1e-6, "result");
}
