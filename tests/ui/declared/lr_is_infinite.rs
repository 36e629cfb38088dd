use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(lr = 1e999)]
    stem: Linear,
    head: Linear,
}

fn main() {}
