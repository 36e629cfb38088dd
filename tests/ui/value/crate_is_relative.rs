use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(crate = "freeze_core")]
struct Net {
    head: Linear,
}

fn main() {}
