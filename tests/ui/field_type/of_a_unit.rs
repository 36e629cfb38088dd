use candle_nn::Linear;
use freeze_core::Freezable;

struct Scale(f64);

#[derive(Freezable)]
#[freeze(unit)]
struct Block {
    linear: Linear,
    scale: Scale,
}

fn main() {}
