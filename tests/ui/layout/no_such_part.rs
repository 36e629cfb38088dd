use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    body: Linear,
    head: Linear,
}

const BODY: usize = Net::LEAVES.before("haed");

fn main() {}
