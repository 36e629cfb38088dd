//! What is made of candle's operations on the card: the numbers must be those of the CPU's kernels.

use std::collections::HashMap;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use freeze_core::nn::{self, GRUConfig, LSTMConfig, RNN};

use crate::battery::{check, row};

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
