//! Layer norm and root-mean-square norm.

use candle_core::{D, DType, Device, Module, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use freeze_core::nn::{self, LayerNorm, LayerNormConfig, RmsNorm, ops};
use proptest::prelude::*;

use super::*;

/// The formula in candle's differentiable operations, computed in f64.
fn reference(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, center: bool) -> Result<Tensor> {
    let x = x.to_dtype(DType::F64)?;
    let x = if center { x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)? } else { x };
    let deviation = (x.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?;
    let y = x.broadcast_div(&deviation)?.broadcast_mul(&weight.to_dtype(DType::F64)?)?;
    match bias {
        Some(bias) => y.broadcast_add(&bias.to_dtype(DType::F64)?),
        None => Ok(y),
    }
}

/// The layers by what they have: weight and bias, weight alone, no removal of the mean.
const KINDS: [(bool, bool); 4] = [(true, true), (true, false), (false, false), (false, true)];

fn run(x: &Tensor, weight: &Var, bias: Option<&Var>, center: bool) -> Result<Tensor> {
    let config = LayerNormConfig { eps: 1e-5, remove_mean: center, affine: bias.is_some() };
    let mut tensors = std::collections::HashMap::new();
    tensors.insert("weight".to_string(), weight.as_tensor().clone());
    if let Some(bias) = bias {
        tensors.insert("bias".to_string(), bias.as_tensor().clone());
    }
    let vb = VarBuilder::from_tensors(tensors, weight.dtype(), &Device::Cpu);
    nn::layer_norm(weight.elem_count(), config, vb)?.forward(x)
}

#[test]
fn gradients_match_finite_differences() {
    for (center, biased) in KINDS {
        for shape in [&[1usize, 2][..], &[3, 5], &[2, 3, 17], &[1, 2, 1, 7]] {
            let size = shape[shape.len() - 1];
            let (x, w) = (var(1, shape, DType::F64), var(2, &[size], DType::F64));
            let b = biased.then(|| var(3, &[size], DType::F64));
            let mut vars = vec![&x, &w];
            vars.extend(&b);
            assert_matches_differences(&vars, || run(&x, &w, b.as_ref(), center));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn gradients_match_candles(
        rows in 1usize..40,
        size in 2usize..70,
        kind in 0usize..4,
        mean in -3.0f64..3.0,
        seed in any::<u64>(),
    ) {
        let (center, biased) = KINDS[kind];
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
            let x = shifted(seed, &[rows, size], dtype, mean);
            let (w, b) = (var(seed ^ 1, &[size], dtype), var(seed ^ 2, &[size], dtype));
            let b = biased.then_some(&b);
            let mut vars = vec![&x, &w];
            vars.extend(b);
            assert_matches_reference(
                &vars,
                tolerance,
                || run(&x, &w, b, center),
                || reference(&x, &w, b.map(|b| b.as_tensor()), center),
            );
        }
    }
}

/// Enough elements for several blocks on several threads.
#[test]
fn large_inputs_match_too() {
    for (rows, size) in [(700, 64), (3, 40_000), (20_000, 3)] {
        let x = var(5, &[rows, size], DType::F32);
        let (w, b) = (var(6, &[size], DType::F32), var(7, &[size], DType::F32));
        assert_matches_reference(
            &[&x, &w, &b],
            3e-5,
            || run(&x, &w, Some(&b), true),
            || reference(&x, &w, Some(&b), true),
        );
    }
}

#[test]
fn a_large_mean_costs_no_digits() {
    let x = shifted(8, &[64, 256], DType::F32, 1e4);
    let (w, b) = (var(9, &[256], DType::F32), var(10, &[256], DType::F32));
    assert_matches_reference(
        &[&x, &w, &b],
        2e-5,
        || run(&x, &w, Some(&b), true),
        || reference(&x, &w, Some(&b), true),
    );
    // What it is for: candle's fused kernel loses the variance altogether.
    let stock = candle_nn::ops::layer_norm(&x, &w, &b, 1e-5).unwrap();
    let off = distance(&stock, &reference(&x, &w, Some(&b), true).unwrap());
    assert!(off.is_nan() || off > 0.1, "candle's kernel is right at mean 1e4 by now: {off}");
}

#[test]
fn half_precision_rounds_once() {
    for (dtype, unit) in [(DType::F16, 1e-3), (DType::BF16, 8e-3)] {
        for (center, biased) in KINDS {
            let x = shifted(11, &[33, 48], dtype, 0.3);
            let (w, b) = (var(12, &[48], dtype), var(13, &[48], dtype));
            let b = biased.then_some(&b);
            let mut vars = vec![&x, &w];
            vars.extend(b);
            assert_matches_reference(
                &vars,
                unit,
                || run(&x, &w, b, center),
                || reference(&x, &w, b.map(|b| b.as_tensor()), center),
            );
        }
    }
}

#[test]
fn views_of_storage_are_read_right() {
    let x = var(14, &[6, 4, 10], DType::F64);
    let (w, b) = (var(15, &[12], DType::F64), var(16, &[12], DType::F64));
    let part = |v: &Var, n: usize| v.narrow(0, 1, n).unwrap();
    let transposed = || x.narrow(1, 1, 3)?.transpose(1, 2);
    let (w3, b3) = (part(&w, 3), part(&b, 3));
    assert_matches_reference(
        &[&x, &w, &b],
        1e-11,
        || ops::layer_norm(&transposed()?, &w3, Some(&b3), 1e-5),
        || reference(&transposed()?, &w3, Some(&b3), true),
    );
    let narrow = || x.narrow(0, 2, 3);
    let w10 = part(&w, 10);
    assert_matches_reference(
        &[&x, &w],
        1e-11,
        || ops::rms_norm(&narrow()?, &w10, 1e-5),
        || reference(&narrow()?, &w10, None, false),
    );
}

#[test]
fn only_tracked_operands_get_gradients() {
    let x = var(17, &[5, 6], DType::F32);
    let (w, b) = (var(18, &[6], DType::F32), var(19, &[6], DType::F32));
    for mask in 0..8u8 {
        let pick = |bit: u8, var: &Var| match mask & (1 << bit) {
            0 => var.as_detached_tensor(),
            _ => var.as_tensor().clone(),
        };
        let y = ops::layer_norm(&pick(0, &x), &pick(1, &w), Some(&pick(2, &b)), 1e-5).unwrap();
        assert_eq!(y.track_op(), mask != 0);
        // The operation, its result and every tracked operand, nothing else.
        let nodes = y.sorted_nodes().len();
        assert_eq!(nodes, if mask == 0 { 0 } else { 2 + mask.count_ones() as usize });
        if mask == 0 {
            continue;
        }
        let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        for (bit, var) in [(0, &x), (1, &w), (2, &b)] {
            assert_eq!(grads.get(var).is_some(), mask & (1 << bit) != 0, "mask {mask}, {bit}");
        }
        // The square, its sum, the output; what was asked for.
        assert_eq!(grads.get_ids().count(), mask.count_ones() as usize);
    }
}

#[test]
fn a_stack_passes_gradients_where_candles_stops_them() {
    let x = var(20, &[4, 8], DType::F32);
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let norm = |name: &str| candle_nn::layer_norm(8, 1e-5, vb.pp(name)).unwrap();
    let stock = [norm("a"), norm("b"), norm("c")];
    let ours: Vec<LayerNorm> = stock.iter().cloned().map(LayerNorm::from).collect();
    let run = |layers: &[&dyn Module]| {
        let y = layers.iter().try_fold(x.as_tensor().clone(), |x, layer| layer.forward(&x));
        y.unwrap().powf(3.0).unwrap().sum_all().unwrap().backward().unwrap()
    };
    let grads = run(&[&stock[0], &stock[1], &stock[2]]);
    assert!(grads.get(&x).is_none());
    assert_eq!(map.all_vars().iter().filter(|var| grads.get(var).is_some()).count(), 0);
    let grads = run(&[&ours[0], &ours[1], &ours[2]]);
    assert!(grads.get(&x).is_some());
    assert_eq!(map.all_vars().iter().filter(|var| grads.get(var).is_some()).count(), 6);
}

#[test]
fn constructors_read_candles_names() {
    let dev = &Device::Cpu;
    let tensor = |seed| var(seed, &[4], DType::F32).as_detached_tensor();
    for (weight, bias) in [("weight", "bias"), ("gamma", "beta")] {
        let tensors = [(weight.to_string(), tensor(1)), (bias.to_string(), tensor(2))];
        let vb = || VarBuilder::from_tensors(tensors.clone().into(), DType::F32, dev);
        let x = var(3, &[2, 4], DType::F32);
        let ours = nn::layer_norm(4, 1e-5, vb()).unwrap();
        let stock = candle_nn::layer_norm(4, 1e-5, vb()).unwrap();
        assert!(distance(&ours.forward(&x).unwrap(), &stock.forward(&x).unwrap()) < 1e-5);
        let ours = nn::layer_norm_no_bias(4, 1e-5, vb()).unwrap();
        let stock = candle_nn::layer_norm_no_bias(4, 1e-5, vb()).unwrap();
        assert!(ours.bias().is_none() && ours.remove_mean());
        assert!(distance(&ours.forward(&x).unwrap(), &stock.forward(&x).unwrap()) < 1e-5);
        let ours = nn::rms_norm(4, 1e-5, vb()).unwrap();
        let stock = candle_nn::rms_norm(4, 1e-5, vb()).unwrap();
        assert!(distance(&ours.forward(&x).unwrap(), &stock.forward(&x).unwrap()) < 1e-5);
        let same = RmsNorm::from(stock).forward(&x).unwrap();
        assert_eq!(flat(&same), flat(&ours.forward_diff(&x).unwrap()));
        assert!(!ours.into_inner().remove_mean());
    }
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, dev);
    nn::layer_norm(4, 1e-5, vb).unwrap();
    let mut names: Vec<String> = map.data().lock().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["bias", "weight"]);
}

#[test]
fn wrong_operands_are_errors() {
    let x = var(1, &[2, 4], DType::F32);
    let cases = [
        (var(2, &[3], DType::F32), "the input's last dimension is 4, but the weight has shape [3]"),
        (var(2, &[1, 4], DType::F32), "the weight has shape [1, 4]"),
        (var(2, &[4], DType::F64), "the input is F32, but the weight is F64"),
    ];
    for (weight, text) in cases {
        let error = ops::rms_norm(&x, &weight, 1e-5).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    let x = x.to_dtype(DType::U32).unwrap();
    let w = var(2, &[4], DType::F32).to_dtype(DType::U32).unwrap();
    let error = ops::rms_norm(&x, &w, 1e-5).unwrap_err().to_string();
    assert!(error.contains("U32"), "{error}");
}

#[test]
fn empty_inputs_stay_empty() {
    let w = var(2, &[4], DType::F32);
    let x = Tensor::zeros((0, 4), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(ops::layer_norm(&x, &w, Some(&w), 1e-5).unwrap().dims(), [0, 4]);
    let softmax = ops::softmax_last_dim(&x);
    assert_eq!(softmax.unwrap().dims(), [0, 4]);
}
