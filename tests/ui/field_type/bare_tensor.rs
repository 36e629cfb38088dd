use candle_core::Tensor;
use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    position: Tensor,
    head: Linear,
}

fn main() {}
