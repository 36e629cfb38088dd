use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(skpi)]
    stem: Linear,
    head: Linear,
}

fn main() {}
