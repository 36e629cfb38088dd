use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    conv_1: Linear,
    conv1: Linear,
}

fn main() {}
