//! Settings: of windows, of norms, of groups.

use candle_core::{DType, Device, Module, ModuleT, Tensor};
use freeze_core::nn::{self, BatchNormConfig, Conv1dConfig, Conv2dConfig, ops};

use super::Expected::{Shape, Words};
use super::{assert_outcome, builder, tensor};

const MAX: usize = usize::MAX;

#[test]
fn settings_of_convolutions() {
    let one = "expected at least 1";
    for (padding, stride, dilation, groups, expected) in [
        (0, 1, 1, 1, Shape(&[2, 4, 4, 4])),
        (0, 1, 1, 2, Shape(&[2, 4, 4, 4])),
        (7, 3, 2, 4, Shape(&[2, 4, 6, 6])),
        (0, MAX, 1, 1, Shape(&[2, 4, 1, 1])),
        (0, 0, 1, 1, Words(one)),
        (0, 1, 0, 1, Words(one)),
        (0, 1, 1, 0, Words(one)),
        (0, 1, 5, 1, Words("spans 11 and the input with its padding 6")),
        (0, 1, MAX, 1, Words("spans 36893488147419103231")),
        (MAX, 1, 1, 1, Words("is too large")),
        (MAX, MAX, MAX, 1, Words("is too large")),
        (1 << 46, 1, 1, 1, Words("no memory for a result of [2, 4, ")),
        (1 << 30, 1 << 29, 1, 1, Shape(&[2, 4, 5, 5])),
        (0, 1, 1, 3, Words("expected 12: 3 group(s)")),
        (0, 1, 1, MAX, Words("group(s)")),
    ] {
        let per_group = 4 / groups.clamp(1, 4);
        let per_group = if groups == 3 { 4 } else { per_group };
        let config = Conv2dConfig { padding, stride, dilation, groups, cudnn_fwd_algo: None };
        let (x, w, b) = (tensor(&[2, 4, 6, 6]), tensor(&[4, per_group, 3, 3]), tensor(&[4]));
        let what = format!("padding {padding}, stride {stride}, dilation {dilation}, {groups}");
        assert_outcome(ops::conv2d(&x, &w, Some(&b), &config), &expected, &what);
        let layer = nn::Conv2d::new(w.clone(), None, config);
        assert_outcome(layer.forward(&x), &expected, &what);
        let config = Conv1dConfig { padding, stride, dilation, groups, cudnn_fwd_algo: None };
        let (x, w) = (x.mean(2).unwrap(), w.mean(2).unwrap());
        let expected = match &expected {
            Shape(shape) => Shape(&shape[..3]),
            Words(words) => Words(words),
        };
        assert_outcome(ops::conv1d(&x, &w, Some(&b), &config), &expected, &what);
    }
}

#[test]
fn windows_of_pools() {
    let words = "expected at least 1 x 1 and at most the input";
    for (kernel, stride, expected) in [
        ((1, 1), (1, 1), Shape(&[2, 3, 4, 5])),
        ((4, 5), (MAX, MAX), Shape(&[2, 3, 1, 1])),
        ((0, 1), (1, 1), Words(words)),
        ((1, 1), (1, 0), Words(words)),
        ((5, 1), (1, 1), Words(words)),
        ((MAX, MAX), (MAX, MAX), Words(words)),
        ((MAX, 2), (MAX, 2), Words(words)),
    ] {
        let (x, what) = (tensor(&[2, 3, 4, 5]), format!("{kernel:?} {stride:?}"));
        assert_outcome(ops::max_pool2d_with_stride(&x, kernel, stride), &expected, &what);
        assert_outcome(ops::avg_pool2d_with_stride(&x, kernel, stride), &expected, &what);
    }
}

#[test]
fn eps_and_momentum() {
    let (x, one) = (tensor(&[3, 4, 5]), tensor(&[4]));
    let (last, flat) = (tensor(&[5]), tensor(&[3, 4]));
    let mean = Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
    let variance = mean.ones_like().unwrap();
    let norm = |eps: f64| {
        let affine = Some((&one, &one));
        let layer =
            |bias| nn::BatchNorm::new(4, mean.clone(), variance.clone(), one.clone(), bias, eps);
        let group = nn::GroupNorm::new(one.clone(), one.clone(), 4, 2, eps);
        [
            ops::batch_norm(&x, affine, eps).map(|(y, _)| y),
            ops::batch_norm_inference(&x, &mean, &variance, affine, eps),
            ops::group_norm(&x, 2, &one, &one, eps),
            ops::layer_norm(&x, &last, Some(&last), eps),
            ops::rms_norm(&x, &last, eps),
            nn::LayerNorm::new(last.clone(), last.clone(), eps).forward(&x),
            nn::RmsNorm::new(last.clone(), eps).forward(&x),
            layer(one.clone()).and_then(|layer| layer.forward_t(&x, true)),
            layer(one.clone()).and_then(|layer| layer.forward_t(&x, false)),
            group.and_then(|layer| layer.forward(&x)),
            ops::batch_norm(&flat, affine, eps)
                .and_then(|(y, _)| y.unsqueeze(2)?.repeat((1, 1, 5))),
        ]
    };
    for eps in [0., f64::MIN_POSITIVE, 1e-5, 1., 1e300] {
        for (index, y) in norm(eps).into_iter().enumerate() {
            assert_outcome(y, &Shape(&[3, 4, 5]), &format!("{eps:?}: {index}"));
        }
    }
    for eps in [-1e-300, -1., f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for (index, y) in norm(eps).into_iter().enumerate() {
            let words = "expected a number of at least 0";
            assert_outcome(y, &Words(words), &format!("{eps:?}: {index}"));
        }
    }
    for momentum in [-1e-300, 1. + 1e-9, f64::NAN, f64::INFINITY] {
        let config = BatchNormConfig { momentum, ..Default::default() };
        let text = nn::batch_norm(4, config, builder()).expect_err("refused").to_string();
        assert!(text.contains("expected a number from 0 to 1"), "{text}");
    }
}

#[test]
fn groups_of_norms() {
    let (x, w) = (tensor(&[2, 6, 3]), tensor(&[6]));
    for (groups, expected) in [
        (1, Shape(&[2, 6, 3])),
        (6, Shape(&[2, 6, 3])),
        (0, Words("6 channels cannot be divided into 0 groups")),
        (4, Words("6 channels cannot be divided into 4 groups")),
        (MAX, Words("cannot be divided")),
    ] {
        assert_outcome(ops::group_norm(&x, groups, &w, &w, 1e-5), &expected, &groups.to_string());
        let layer = nn::group_norm(groups, 6, 1e-5, builder());
        assert_outcome(layer.and_then(|layer| layer.forward(&x)), &expected, &groups.to_string());
    }
}
