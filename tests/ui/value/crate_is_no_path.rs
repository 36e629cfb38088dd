use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(crate = "::a b")]
struct Net {
    head: Linear,
}

fn main() {}
