use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(unit, no_decay)]
struct Block {
    #[freeze(frozen)]
    stem: Linear,
    #[freeze(lr = 0.1, no_decay)]
    head: Linear,
}

fn main() {}
