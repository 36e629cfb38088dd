use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(stages)]
    blocks: Vec<Linear>,
}

fn main() {}
