use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(stages)]
struct Net {
    body: Linear,
    head: Linear,
}

struct NetStage;

fn main() {}
