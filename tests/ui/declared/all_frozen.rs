use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(frozen)]
    stem: Linear,
    #[freeze(skip)]
    width: usize,
    #[freeze(frozen)]
    head: Linear,
}

fn main() {}
