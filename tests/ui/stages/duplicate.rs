use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(stages)]
#[freeze(crate = "::freeze_core", stages)]
struct Net {
    body: Linear,
}

fn main() {}
