use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(no_decay, skip)]
    stem: Linear,
    head: Linear,
}

fn main() {}
