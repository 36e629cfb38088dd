use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    head: Linear,
    name: String,
}

fn main() {}
