use candle_nn::Linear;
use freeze_core::Freezable;

const SHARE: f64 = 1.0 - 1.5;

#[derive(Freezable)]
struct Net {
    #[freeze(lr = SHARE)]
    stem: Linear,
    head: Linear,
}

fn main() {}
