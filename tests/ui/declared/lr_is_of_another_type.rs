use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(lr = usize::MAX)]
    stem: Linear,
    head: Linear,
}

fn main() {}
