use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
struct Net {
    #[freeze(no_stage)]
    bias: Linear,
    head: Linear,
}

fn main() {}
