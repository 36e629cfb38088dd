//! Layers whose gradients are made for tracked operands alone, on the card as well.

use candle_core::Tensor;
use candle_nn::Conv2dConfig;
use freeze_core::nn::{self, ops};

use crate::battery::{check, row};

#[test]
fn products_and_biases() {
    let linear = |t: &[Tensor]| ops::linear(&t[0], &t[1], t.get(2));
    check(&[
        row("linear", &[&[3, 5], &[4, 5], &[4]], true, linear),
        row("linear without bias", &[&[3, 5], &[4, 5]], true, linear),
        row("linear of rank 3", &[&[2, 3, 5], &[4, 5], &[4]], true, linear),
        row("linear of a vector", &[&[5], &[4, 5], &[4]], true, linear),
        row("large linear", &[&[65, 33], &[257, 33], &[257]], true, linear),
        row("add_bias", &[&[7, 3, 9], &[9]], true, |t| ops::add_bias(&t[0], &t[1])),
    ]);
}

#[test]
fn nothing_to_compute() {
    let linear = |t: &[Tensor]| ops::linear(&t[0], &t[1], t.get(2));
    check(&[
        row("no row", &[&[0, 4], &[3, 4], &[3]], true, linear),
        row("no batch", &[&[2, 0, 4], &[3, 4], &[3]], true, linear),
        row("no output", &[&[2, 4], &[0, 4], &[0]], true, linear),
        row("relu of nothing", &[&[0, 4]], true, |t| ops::relu(&t[0])),
        row("gelu of nothing", &[&[0, 4]], true, |t| ops::gelu(&t[0])),
        row("prelu of nothing", &[&[0, 4], &[4]], true, |t| ops::prelu(&t[0], &t[1])),
        row("bias on nothing", &[&[0, 4], &[4]], true, |t| ops::add_bias(&t[0], &t[1])),
        row("convolution of no sample", &[&[0, 2, 4, 4], &[3, 2, 3, 3], &[3]], true, |t| {
            ops::conv2d(&t[0], &t[1], t.get(2), &Conv2dConfig::default())
        }),
        row("max pool of no sample", &[&[0, 2, 4, 4]], true, |t| ops::max_pool2d(&t[0], 2)),
        row("mean pool of no sample", &[&[0, 2, 4, 4]], true, |t| ops::avg_pool2d(&t[0], 2)),
        row("dropout of nothing", &[&[0, 4]], true, |t| {
            nn::Dropout::new(0.3, 7).map_err(candle_core::Error::wrap)?.forward(&t[0], true)
        }),
        row("softmax of nothing", &[&[0, 4]], true, |t| ops::softmax_last_dim(&t[0])),
        row("layer norm of nothing", &[&[0, 4], &[4], &[4]], false, |t| {
            ops::layer_norm(&t[0], &t[1], t.get(2), 1e-5)
        }),
    ]);
}
