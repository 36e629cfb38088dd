use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(trainable)]
struct Net {
    #[freeze(freeze)]
    stem: Linear,
    #[freeze(fixed)]
    body: Linear,
    #[freeze(learning_rate = 0.1)]
    neck: Linear,
    #[freeze(wd)]
    head: Linear,
}

fn main() {}
