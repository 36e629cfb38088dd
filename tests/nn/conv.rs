//! `nn::Conv1d`, `nn::Conv2d` and their operations: gradients, and what is not computed.

use candle_core::{DType, Device, Module, ModuleT, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use freeze_core::Freezable;
use freeze_core::nn::{self, Conv1dConfig, Conv2dConfig, ops};
use proptest::prelude::*;

use crate::support::{
    assert_close, check, check_against, check_half, flat, gradients, random, refusal,
};

fn config1(padding: usize, stride: usize, dilation: usize, groups: usize) -> Conv1dConfig {
    Conv1dConfig { padding, stride, dilation, groups, cudnn_fwd_algo: None }
}

fn config2(padding: usize, stride: usize, dilation: usize, groups: usize) -> Conv2dConfig {
    Conv2dConfig { padding, stride, dilation, groups, cudnn_fwd_algo: None }
}

/// Input, weight and bias for `groups` groups of `per_in` and `per_out` channels.
fn operands(
    batch: usize,
    groups: usize,
    (per_in, per_out): (usize, usize),
    size: &[usize],
    kernel: &[usize],
    dtype: DType,
) -> [Tensor; 3] {
    let x = [&[batch, groups * per_in], size].concat();
    let w = [&[groups * per_out, per_in], kernel].concat();
    [random(1, x, dtype), random(2, w, dtype), random(3, groups * per_out, dtype)]
}

fn conv1d(config: Conv1dConfig) -> impl Fn(&[Tensor]) -> Result<Tensor> {
    move |t| ops::conv1d(&t[0], &t[1], t.get(2), &config)
}

fn conv2d(config: Conv2dConfig) -> impl Fn(&[Tensor]) -> Result<Tensor> {
    move |t| ops::conv2d(&t[0], &t[1], t.get(2), &config)
}

fn stock1d(config: Conv1dConfig) -> impl Fn(&[Tensor]) -> Result<Tensor> {
    move |t| candle_nn::Conv1d::new(t[1].clone(), t.get(2).cloned(), config).forward(&t[0])
}

fn stock2d(config: Conv2dConfig) -> impl Fn(&[Tensor]) -> Result<Tensor> {
    move |t| candle_nn::Conv2d::new(t[1].clone(), t.get(2).cloned(), config).forward(&t[0])
}

#[test]
fn gradients_of_conv2d_by_finite_differences() {
    for (size, kernel, config) in [
        ([4, 4], [3, 3], config2(0, 1, 1, 1)),
        ([4, 5], [3, 3], config2(1, 1, 1, 1)),
        // candle's own backward fails on this one.
        ([8, 7], [3, 3], config2(1, 2, 1, 1)),
        ([6, 5], [2, 3], config2(2, 3, 2, 1)),
        ([3, 4], [1, 1], config2(0, 1, 1, 1)),
        ([3, 4], [1, 1], config2(1, 2, 1, 1)),
        ([4, 3], [2, 2], config2(1, 1, 1, 2)),
        ([4, 3], [3, 2], config2(1, 2, 1, 3)),
        // The padding alone is wider than what the kernel spans.
        ([2, 1], [2, 1], config2(3, 1, 1, 1)),
    ] {
        let operands = operands(2, config.groups, (2, 2), &size, &kernel, DType::F64);
        check(&operands, conv2d(config));
        check(&operands[..2], conv2d(config));
    }
}

#[test]
fn gradients_of_conv1d_by_finite_differences() {
    for (size, kernel, config) in [
        (5, 3, config1(0, 1, 1, 1)),
        (6, 1, config1(0, 1, 1, 1)),
        (8, 3, config1(1, 2, 1, 1)),
        (7, 2, config1(2, 3, 2, 2)),
        (4, 1, config1(0, 1, 1, 4)),
    ] {
        let operands = operands(3, config.groups, (1, 2), &[size], &[kernel], DType::F64);
        check(&operands, conv1d(config));
        check(&operands[..2], conv1d(config));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn conv2d_equals_candles(
        batch in 1usize..6,
        channels in (1usize..4, 1usize..4),
        groups in 1usize..4,
        size in 1usize..12,
        kernel in 1usize..5,
        padding in 0usize..3,
        stride in 1usize..4,
        dilation in 1usize..3,
    ) {
        prop_assume!(dilation * (kernel - 1) < size + 2 * padding);
        let config = config2(padding, stride, dilation, groups);
        let all = operands(batch, groups, channels, &[size; 2], &[kernel; 2], DType::F32);
        // candle's forward takes any shape; its backward fails where the padding outweighs the size.
        let (y, _) = gradients(&all, &[false; 3], conv2d(config));
        assert_close(&y, &stock2d(config)(&all).unwrap(), 1e-5, "result");
        prop_assume!(padding < kernel && padding < size);
        check_against(&all, 1e-5, conv2d(config), stock2d(config));
    }

    /// candle's own gradients of a conv1d are wrong for more than one sample, so differences are the
    /// reference.
    #[test]
    fn conv1d_is_right(
        batch in 1usize..4,
        channels in (1usize..3, 1usize..3),
        groups in 1usize..3,
        size in 1usize..8,
        kernel in 1usize..4,
        padding in 0usize..3,
        stride in 1usize..4,
        dilation in 1usize..3,
    ) {
        prop_assume!(dilation * (kernel - 1) < size + 2 * padding);
        let config = config1(padding, stride, dilation, groups);
        let all = operands(batch, groups, channels, &[size], &[kernel], DType::F64);
        check(&all, conv1d(config));
        let (y, _) = gradients(&all, &[false; 3], conv1d(config));
        assert_close(&y, &stock1d(config)(&all).unwrap(), 1e-12, "result");
    }
}

#[test]
fn many_parts_and_many_tiles() {
    // More samples than parts, and samples larger than a tile.
    let batches = operands(37, 1, (3, 4), &[9, 9], &[3, 3], DType::F32);
    check_against(&batches, 1e-5, conv2d(config2(1, 1, 1, 1)), stock2d(config2(1, 1, 1, 1)));
    let large = operands(3, 2, (16, 3), &[70, 70], &[3, 3], DType::F32);
    check_against(&large, 1e-4, conv2d(config2(1, 1, 1, 2)), stock2d(config2(1, 1, 1, 2)));
}

#[test]
fn a_strided_input() {
    let config = config2(1, 1, 1, 1);
    let operands = operands(2, 1, (2, 3), &[4, 5], &[3, 2], DType::F64);
    check(&operands, |t| ops::conv2d(&t[0].transpose(2, 3)?, &t[1], Some(&t[2]), &config));
}

#[test]
fn halves() {
    let two = operands(2, 2, (4, 3), &[6, 6], &[3, 3], DType::F32);
    let one = operands(2, 1, (4, 3), &[9], &[3], DType::F32);
    for (dtype, tolerance) in [(DType::F16, 2e-3), (DType::BF16, 1.6e-2)] {
        check_half(dtype, tolerance, &two, conv2d(config2(1, 1, 1, 2)));
        check_half(dtype, tolerance, &one, conv1d(config1(1, 2, 1, 1)));
    }
}

#[test]
fn an_empty_batch() {
    let operands = operands(0, 1, (2, 3), &[4, 4], &[3, 3], DType::F32);
    let (y, grads) = gradients(&operands, &[true; 3], conv2d(config2(1, 1, 1, 1)));
    assert_eq!(y.dims(), [0, 3, 4, 4]);
    for (grad, operand) in grads.iter().zip(&operands) {
        let grad = grad.as_ref().unwrap();
        assert_eq!(grad.shape(), operand.shape());
        assert!(flat(grad).iter().all(|&value| value == 0.));
    }
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let [x, w, b] = operands(1, 1, (2, 3), &[4, 4], &[3, 3], DType::F32);
    let refuse = |x: &Tensor, w: &Tensor, b: Option<&Tensor>, config: Conv2dConfig| {
        refusal(ops::conv2d(x, w, b, &config))
    };
    let plain = config2(0, 1, 1, 1);
    let other = random(4, (1, 5, 4, 4), DType::F32);
    for (text, start) in [
        (refuse(&other, &w, None, plain), "conv2d: the input has 5 channels, expected 2: 1 group"),
        (refuse(&x, &w, None, config2(0, 1, 1, 2)), "conv2d: the input has 2 channels, expected 4"),
        (refuse(&x, &w, Some(&random(5, 2, DType::F32)), plain), "conv2d: the bias has shape [2]"),
        (refuse(&x, &w, None, config2(0, 0, 1, 1)), "conv2d: stride 0, dilation 1, groups 1"),
        (
            refuse(&x, &w, None, config2(0, 1, 2, 1)),
            "conv2d: a kernel of 3 with dilation 2 spans 5",
        ),
        (
            refuse(&x, &b, None, plain),
            "conv2d: the input has shape [1, 2, 4, 4] and the weight [3]",
        ),
        (
            refuse(&random(6, (1, 4, 4, 4), DType::F32), &w, None, config2(0, 1, 1, 2)),
            "conv2d: 3 output channels do not divide into 2 groups",
        ),
        (
            refuse(&x, &w.to_dtype(DType::F64).unwrap(), None, plain),
            "conv2d: the input is F32, a parameter F64",
        ),
    ] {
        assert!(text.starts_with(start), "{text}");
    }
}

#[test]
fn a_frozen_layer_has_no_gradients_and_no_graph_of_its_own() {
    let var = |seed, shape: &[usize]| Var::from_tensor(&random(seed, shape, DType::F32)).unwrap();
    let layer = nn::Conv2d::new(
        var(1, &[3, 2, 3, 3]).into_inner(),
        Some(var(2, &[3]).into_inner()),
        Conv2dConfig::default(),
    );
    let frozen = layer.freeze_upto(1).unwrap();
    let plain = random(3, (1, 2, 4, 4), DType::F32);
    assert!(layer.forward(&plain).unwrap().track_op());
    assert!(!frozen.forward(&plain).unwrap().track_op());
    let x = var(4, &[1, 2, 4, 4]);
    let grads = frozen.forward(&x).unwrap().backward().unwrap();
    assert_eq!(grads.get_ids().copied().collect::<Vec<_>>(), [x.id()]);
}

#[test]
fn a_batch_norm_is_absorbed() {
    let [x, w, b] = operands(2, 1, (2, 3), &[5, 5], &[3, 3], DType::F64);
    let positive = |seed| random(seed, 3, DType::F64).affine(0.4, 1.).unwrap();
    let [mean, var, gain, offset] = [4, 5, 6, 7].map(positive);
    for bias in [Some(b), None] {
        let conv = nn::Conv2d::new(w.clone(), bias, config2(1, 1, 1, 1));
        for norm in [
            nn::BatchNorm::new(3, mean.clone(), var.clone(), gain.clone(), offset.clone(), 1e-3),
            nn::BatchNorm::new_no_bias(3, mean.clone(), var.clone(), 1e-3),
        ] {
            let norm = norm.unwrap();
            let both = norm.forward_t(&conv.forward(&x).unwrap(), false).unwrap();
            let one = conv.absorb_bn(&norm).unwrap().forward(&x).unwrap();
            assert_close(&one, &both, 1e-12, "absorbed");
        }
    }
    let other = nn::BatchNorm::new_no_bias(
        1,
        mean.narrow(0, 0, 1).unwrap(),
        var.narrow(0, 0, 1).unwrap(),
        1e-3,
    );
    let conv = nn::Conv2d::new(w, None, config2(1, 1, 1, 1));
    let text = conv.absorb_bn(&other.unwrap()).unwrap_err().to_string();
    assert!(text.starts_with("absorb_bn: the batch norm has channels of shape [1], expected [3]"));
}

#[test]
fn constructors_names_and_conversion_are_candles() {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let (one, two) = (Conv1dConfig::default(), Conv2dConfig::default());
    nn::conv1d(2, 3, 3, one, vb.pp("a")).unwrap();
    nn::conv1d_no_bias(2, 3, 3, one, vb.pp("b")).unwrap();
    let layer = nn::conv2d(2, 3, 3, two, vb.pp("c")).unwrap();
    assert!(nn::conv2d_no_bias(2, 3, 3, two, vb.pp("d")).unwrap().bias().is_none());
    let mut names: Vec<String> = map.data().lock().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["a.bias", "a.weight", "b.weight", "c.bias", "c.weight", "d.weight"]);
    let stock = candle_nn::conv2d(2, 3, 3, two, vb.pp("c")).unwrap();
    let converted = nn::Conv2d::from(stock.clone());
    assert_eq!(converted.weight().id(), stock.weight().id(), "the same variable, not a copy");
    assert_eq!((layer.config(), converted.config()), (stock.config(), stock.config()));
    assert_eq!(layer.leaves().unwrap()[0].kind, "Conv2d");
    assert_eq!(layer.vars().unwrap().len(), 2);
}
