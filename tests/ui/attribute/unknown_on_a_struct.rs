use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(bounds = "")]
struct Net {
    head: Linear,
}

fn main() {}
