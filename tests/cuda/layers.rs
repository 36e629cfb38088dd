//! Layers whose gradients are made for tracked operands alone, on the card as well.

use candle_core::Tensor;
use candle_nn::{Conv1dConfig, Conv2dConfig};
use freeze_core::nn::{self, ops};

use crate::battery::{Row, check, row};

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
fn convolutions() {
    let mut rows: Vec<Row> = Vec::new();
    for (stride, padding, dilation, groups) in [
        (1, 0, 1, 1),
        (1, 1, 1, 1),
        (2, 1, 1, 1),
        (1, 2, 2, 1),
        (3, 1, 1, 1),
        (1, 1, 1, 2),
        (2, 1, 1, 4),
    ] {
        let name = format!("stride {stride} padding {padding} dilation {dilation} groups {groups}");
        let flat = Conv1dConfig { stride, padding, dilation, groups, ..Default::default() };
        let w = [8, 4 / groups, 3];
        rows.push(row(format!("conv1d {name}"), &[&[2, 4, 11], &w, &[8]], true, move |t| {
            ops::conv1d(&t[0], &t[1], t.get(2), &flat)
        }));
        let wide = Conv2dConfig { stride, padding, dilation, groups, ..Default::default() };
        let w = [8, 4 / groups, 3, 2];
        rows.push(row(format!("conv2d {name}"), &[&[2, 4, 7, 9], &w, &[8]], true, move |t| {
            ops::conv2d(&t[0], &t[1], t.get(2), &wide)
        }));
    }
    check(&rows);
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
