use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    blocks: Vec<Linear>,
    head: Linear,
}

const BODY: usize = Net::LEAVES.through("blocks");

fn main() {}
