use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(lr = 0.1)]
    #[freeze(always, lr = 0.2)]
    stem: Linear,
    head: Linear,
}

fn main() {}
