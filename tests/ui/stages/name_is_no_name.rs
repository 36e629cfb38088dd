use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(stages = "the stages")]
struct Net {
    body: Linear,
}

fn main() {}
