use candle_nn::Linear;
use freeze_core::Freezable;

struct Block {
    linear: Linear,
}

#[derive(Freezable)]
struct Net {
    blocks: Vec<Block>,
    head: Linear,
}

fn main() {}
