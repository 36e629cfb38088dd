use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(param)]
    #[freeze(skip)]
    stem: Linear,
    head: Linear,
}

fn main() {}
