use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(unit, stages)]
struct Net {
    body: Linear,
}

fn main() {}
