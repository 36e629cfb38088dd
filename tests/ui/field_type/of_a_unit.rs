use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(unit)]
struct Block {
    linear: Linear,
    scale: f64,
}

fn main() {}
