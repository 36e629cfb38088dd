use candle_nn::Linear;
use freeze_core::Freezable;

#[derive(Freezable)]
#[freeze(no_stage)]
struct Net {
    body: Linear,
}

fn main() {}
