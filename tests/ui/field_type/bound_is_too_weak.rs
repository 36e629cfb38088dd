use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(bound = "L: Clone")]
struct Net<L> {
    body: L,
    head: Linear,
}

fn main() {}
