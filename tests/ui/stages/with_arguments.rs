use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(stages(body, head))]
struct Net {
    body: Linear,
    head: Linear,
}

fn main() {}
