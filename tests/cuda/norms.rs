//! What is made of candle's operations on the card: the numbers must be those of the CPU's kernels.

use std::collections::HashMap;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use freeze_core::nn::{self, GRUConfig, LSTMConfig, RNN, ops};

use crate::battery::{check, row};

fn attend(t: &[Tensor], mask: ops::AttentionMask<'_>) -> Result<Tensor> {
    ops::scaled_dot_product_attention(&t[0], &t[1], &t[2], mask, None)
}

#[test]
fn norms_and_softmax() {
    let shapes: [&[usize]; 3] = [&[2, 4, 7, 5], &[2, 2, 6, 5], &[2, 2, 6, 3]];
    check(&[
        row("attention", &shapes, false, |t| attend(t, ops::AttentionMask::None)),
        // The first query sees nothing.
        row("causal attention", &shapes, false, |t| attend(t, ops::AttentionMask::Causal)),
        row("softmax", &[&[3, 7]], false, |t| ops::softmax_last_dim(&t[0])),
        row("wide softmax", &[&[2, 3, 1025]], false, |t| ops::softmax_last_dim(&t[0])),
        row("layer norm", &[&[3, 2, 7], &[7], &[7]], false, |t| {
            ops::layer_norm(&t[0], &t[1], t.get(2), 1e-5)
        }),
        row("layer norm without bias", &[&[3, 129], &[129]], false, |t| {
            ops::layer_norm(&t[0], &t[1], None, 1e-5)
        }),
        row("rms norm", &[&[3, 7], &[7]], false, |t| ops::rms_norm(&t[0], &t[1], 1e-6)),
        row("group norm", &[&[2, 6, 5, 3], &[6], &[6]], false, |t| {
            ops::group_norm(&t[0], 3, &t[1], &t[2], 1e-5)
        }),
        row("batch norm", &[&[4, 5, 3, 2], &[5], &[5]], false, |t| {
            Ok(ops::batch_norm(&t[0], Some((&t[1], &t[2])), 1e-5)?.0)
        }),
        row("batch norm of rank 2", &[&[9, 5]], false, |t| {
            Ok(ops::batch_norm(&t[0], None, 1e-5)?.0)
        }),
        row("batch norm's mean", &[&[9, 5]], false, |t| {
            Ok(ops::batch_norm(&t[0], None, 1e-5)?.1.mean)
        }),
        row("batch norm's variance", &[&[9, 5]], false, |t| {
            Ok(ops::batch_norm(&t[0], None, 1e-5)?.1.variance)
        }),
    ]);
}

#[test]
fn losses_and_dropout() {
    let loss = |ignored: Option<i64>| {
        move |t: &[Tensor]| {
            let labels = Tensor::new(&[2i64, 0, 1, 2], t[0].device())?;
            nn::cross_entropy(&t[0], &labels, ignored)
        }
    };
    check(&[
        row("cross entropy", &[&[4, 3]], false, loss(None)),
        row("cross entropy but for one class", &[&[4, 3]], false, loss(Some(2))),
        // A new generator each time: the same mask on either device.
        row("dropout", &[&[9, 31]], false, |t| {
            nn::Dropout::new(0.3, 7).map_err(candle_core::Error::wrap)?.forward(&t[0], true)
        }),
    ]);
}

#[test]
fn recurrent_layers() {
    fn states<R: RNN>(layer: &R, x: &Tensor) -> Result<Tensor> {
        layer.states_to_tensor(&layer.seq(x)?)
    }
    fn named(t: &[Tensor]) -> VarBuilder<'static> {
        let names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"];
        let tensors = names.into_iter().map(String::from).zip(t[1..].iter().cloned());
        let (dtype, device) = (t[0].dtype(), t[0].device());
        VarBuilder::from_tensors(HashMap::from_iter(tensors), dtype, device)
    }
    let shapes = |gates: usize| [[4 * gates, 3], [4 * gates, 4]];
    let [ih, hh] = shapes(4);
    let lstm = row("lstm", &[&[2, 5, 3], &ih, &hh, &[16], &[16]], false, |t| {
        states(&nn::lstm(3, 4, LSTMConfig::default(), named(t))?, &t[0])
    });
    let [ih, hh] = shapes(3);
    let gru = row("gru", &[&[2, 5, 3], &ih, &hh, &[12], &[12]], false, |t| {
        states(&nn::gru(3, 4, GRUConfig::default(), named(t))?, &t[0])
    });
    check(&[lstm, gru]);
}
