use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(skip)]
struct Net {
    head: Linear,
}

fn main() {}
