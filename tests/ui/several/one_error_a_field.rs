use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    width: usize,
    head: Linear,
    name: String,
}

fn main() {}
