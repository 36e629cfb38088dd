use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(frozen)]
#[freeze(always, lr = 0.1)]
struct Net {
    head: Linear,
}

fn main() {}
