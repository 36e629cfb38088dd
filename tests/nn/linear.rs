//! `nn::Linear`, `ops::linear` and `ops::add_bias`: gradients, and what is not computed.

use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use freeze_core::Freezable;
use freeze_core::nn::{self, ops};
use proptest::prelude::*;

use crate::support::{
    assert_close, check, check_against, check_half, flat, gradients, loss, random, refusal,
};

fn operands(leading: &[usize], inner: usize, out: usize, dtype: DType) -> [Tensor; 3] {
    let x = [leading, &[inner]].concat();
    [random(1, x, dtype), random(2, (out, inner), dtype), random(3, out, dtype)]
}

fn linear(t: &[Tensor]) -> candle_core::Result<Tensor> {
    ops::linear(&t[0], &t[1], t.get(2))
}

#[test]
fn gradients_for_every_rank_and_every_subset_of_tracked_operands() {
    for leading in [&[][..], &[1], &[5], &[2, 3], &[2, 1, 3]] {
        let operands = operands(leading, 4, 3, DType::F64);
        check(&operands, linear);
        check(&operands[..2], linear);
    }
}

#[test]
fn a_strided_input_and_a_transposed_weight() {
    let [x, w, b] = operands(&[2, 5], 4, 3, DType::F64);
    let (x, w) =
        (x.transpose(0, 1).unwrap().contiguous().unwrap(), w.t().unwrap().contiguous().unwrap());
    check(&[x, w, b], |t| ops::linear(&t[0].transpose(0, 1)?, &t[1].t()?, Some(&t[2])));
}

/// candle's own layer is wrong here: its matmul by a broadcast weight stacks the samples of a
/// transposed input as if they were contiguous.
#[test]
fn a_strided_batch_is_its_contiguous_copy() {
    let [x, w, b] = operands(&[3, 5], 5, 2, DType::F32);
    let x = x.transpose(1, 2).unwrap();
    let y = linear(&[x.clone(), w.clone(), b.clone()]).unwrap();
    let stock = candle_nn::Linear::new(w, Some(b)).forward(&x.contiguous().unwrap()).unwrap();
    assert_close(&y, &stock, 1e-6, "a strided batch");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn equal_to_candle(rows in 1usize..9, inner in 1usize..40, out in 1usize..700) {
        let operands = operands(&[rows], inner, out, DType::F32);
        check_against(&operands, 1e-5, linear, |t| {
            candle_nn::Linear::new(t[1].clone(), Some(t[2].clone())).forward(&t[0])
        });
    }
}

#[test]
fn the_result_is_candles_bit_for_bit() {
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        // Large enough for the loops that run on several threads.
        let [x, w, b] = operands(&[3, 70], 33, 257, dtype);
        let ours = linear(&[x.clone(), w.clone(), b.clone()]).unwrap();
        let stock = candle_nn::Linear::new(w, Some(b)).forward(&x).unwrap();
        assert_eq!(flat(&ours), flat(&stock), "{dtype:?}");
    }
}

#[test]
fn halves() {
    let operands = operands(&[2, 6], 16, 8, DType::F32);
    check_half(DType::F16, 4e-3, &operands, linear);
    check_half(DType::BF16, 3e-2, &operands, linear);
}

#[test]
fn an_empty_batch_and_empty_dimensions() {
    for (leading, inner, out) in [(&[0][..], 4, 3), (&[2, 0], 4, 3), (&[2], 0, 3), (&[2], 4, 0)] {
        let operands = operands(leading, inner, out, DType::F32);
        let (y, grads) = gradients(&operands, &[true; 3], linear);
        assert_eq!(y.dims(), [leading, &[out]].concat());
        for (grad, operand) in grads.iter().zip(&operands) {
            let grad = grad.as_ref().unwrap();
            assert_eq!(grad.shape(), operand.shape());
            // Without a single row, or without an input, no weight can matter.
            if leading.contains(&0) {
                assert!(flat(grad).iter().all(|&value| value == 0.));
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let [x, w, b] = operands(&[2], 4, 3, DType::F32);
    let wrong = random(4, 5, DType::F32);
    let text = refusal(ops::linear(&wrong, &w, None));
    assert!(text.starts_with("linear: the input [5] does not end in 4"), "{text}");
    let text = refusal(ops::linear(&x, &w, Some(&wrong)));
    assert!(text.starts_with("linear: the bias has shape [5], expected [3]"), "{text}");
    assert!(ops::linear(&x, &b, None).is_err());
    let scalar = Tensor::new(1f32, &Device::Cpu).unwrap();
    assert!(refusal(ops::linear(&scalar, &w, None)).contains("does not end in 4"));
    assert!(ops::linear(&x, &w.to_dtype(DType::F64).unwrap(), None).is_err());
    for dtype in [DType::F64, DType::F16, DType::BF16] {
        let text = refusal(ops::linear(&x, &w, Some(&b.to_dtype(dtype).unwrap())));
        assert!(
            text.starts_with(&format!("linear: the input is F32, the bias {dtype:?}")),
            "{text}"
        );
    }
    let text = refusal(ops::add_bias(&x, &wrong));
    assert!(text.starts_with("add_bias: the bias has shape [5]"), "{text}");
}

#[test]
fn adding_a_bias() {
    let [x, _, _] = operands(&[2, 3], 4, 3, DType::F64);
    check(&[x, random(5, 4, DType::F64)], |t| ops::add_bias(&t[0], &t[1]));
    check_against(
        &[random(1, (300, 600), DType::F32), random(2, 600, DType::F32)],
        1e-5,
        |t| ops::add_bias(&t[0], &t[1]),
        |t| t[0].broadcast_add(&t[1]),
    );
}

#[test]
fn a_frozen_middle_layer_costs_no_weight_gradient() {
    let var = |seed| Var::from_tensor(&random(seed, (4, 4), DType::F32)).unwrap().into_inner();
    let layers: Vec<nn::Linear> = (0..3).map(|seed| nn::Linear::new(var(seed), None)).collect();
    let middle = layers[1].freeze_upto(1).unwrap();
    let x = random(9, (2, 4), DType::F32);
    let forward = |middle: &nn::Linear| {
        let y = layers[0].forward(&x).and_then(|y| middle.forward(&y));
        loss(&y.and_then(|y| layers[2].forward(&y)).unwrap()).unwrap()
    };
    let (full, frozen) = (forward(&layers[1]), forward(&middle));
    assert_eq!(full.sorted_nodes().len(), frozen.sorted_nodes().len() + 1);
    let (full, frozen) = (full.backward().unwrap(), frozen.backward().unwrap());
    assert_eq!((full.get_ids().count(), frozen.get_ids().count()), (3, 2));
    assert!(frozen.get(middle.weight()).is_none());
    for trained in [&layers[0], &layers[2]] {
        let [a, b] = [&full, &frozen].map(|grads| flat(grads.get(trained.weight()).unwrap()));
        assert_eq!(a, b, "what still trains trains as before");
    }
}

#[test]
fn constructors_names_and_conversion_are_candles() {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let layer = nn::linear(4, 3, vb.pp("a")).unwrap();
    let bare = nn::linear_b(4, 3, false, vb.pp("b")).unwrap();
    assert!(bare.bias().is_none() && nn::linear_no_bias(4, 3, vb.pp("b")).is_ok());
    let mut names: Vec<String> = map.data().lock().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["a.bias", "a.weight", "b.weight"]);
    let stock = candle_nn::linear(4, 3, vb.pp("a")).unwrap();
    let x = random(1, (2, 4), DType::F32);
    let converted = nn::Linear::from(stock.clone());
    assert_eq!(converted.weight().id(), stock.weight().id(), "the same variable, not a copy");
    assert_close(&converted.forward(&x).unwrap(), &layer.forward(&x).unwrap(), 0., "conversion");
    assert_eq!(layer.leaves().unwrap()[0].kind, "Linear");
    assert_eq!(layer.vars().unwrap().len(), 2);
}
