use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(unit, unit)]
struct Net {
    head: Linear,
}

fn main() {}
